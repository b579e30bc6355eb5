"""The face for Python: names that load when used, plain values, the command line's results.

The oracle is the command line itself, or brute force.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
import pydoc
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

import command_line
import splade_bridge as sb
from ranked import brute_force
from small import random_matrix
from splade_bridge.cli.app import app
from splade_bridge.demo.collection import model_path
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.library import given as given_values
from splade_bridge.library.dense import OpenDenseIndex
from splade_bridge.library.indexes import OpenIndex
from splade_bridge.retrieval.runs import read_run

MODEL = model_path()
TEXTS = {
    "d1": "Open a file for reading and return a file object.",
    "d2": "Return a sorted list of the items.",
    "d3": "Compile a regular expression pattern and match it against a string.",
    "d4": "",
}
TOPICS = {"q1": "read a file", "q2": "sort numbers", "q3": "search text for a pattern"}
PAIRS = [("d1", {"cat": 3, "##s": 2}), ("d2", {"cat": 1, "dog": 5}), ("d3", {"dog": 5}), ("d4", {})]
QRELS = {"q1": {"d1": 1, "d9": 2}, "q2": {"d2": 1}, "q4": {"d3": 1}}


# The names


def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = (
        "import sys; before = set(sys.modules); import splade_bridge\n"
        "splade_bridge.__all__; dir(splade_bridge)\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(*sorted(new - sys.stdlib_module_names))\n"
        "from splade_bridge import SpladeBridgeError\n"
        "print('numpy' in sys.modules)\n"
        "from splade_bridge import index, search\n"
        "print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["splade_bridge", "False", "False False"]


@pytest.mark.long
def test_no_module_hides_a_public_name(tmp_path: Path) -> None:
    """Every module is imported, then every public name is called."""
    pytest.importorskip("torch")
    ground = {m.name for m in pkgutil.iter_modules(sb.__path__)}
    assert not ground & set(sb.__all__)
    code = (
        "import importlib, pkgutil, sys\n"
        "from pathlib import Path\n"
        "import splade_bridge as sb\n"
        "from splade_bridge.errors import MissingToolError\n"
        "for module in pkgutil.walk_packages(sb.__path__, 'splade_bridge.'):\n"
        "    if module.name.endswith('__main__'): continue\n"
        "    try: importlib.import_module(module.name)\n"
        "    except (MissingToolError, ModuleNotFoundError) as error:\n"
        "        assert 'splade_bridge' not in (getattr(error, 'name', None) or ''), error\n"
        "        print('skipped', module.name, error, file=sys.stderr)\n"
        "documents = [('a', {'cat': 3}), ('b', {'dog': 1})]\n"
        "query = {'q': {'cat': 1}}\n"
        "def refused():\n"
        "    try: sb.dense(['a file'], model=sys.argv[1], output='d')\n"
        "    except sb.SpladeBridgeError: return 'no modules'\n"
        "def no_sets():\n"
        "    try: sb.beir('x', model=sys.argv[1], output='b')\n"
        "    except sb.SpladeBridgeError as error: return 'BEIR' in str(error)\n"
        "def no_spec():\n"
        "    try: sb.compare({}, 'o')\n"
        "    except sb.SpladeBridgeError as error: return 'qrels' in str(error)\n"
        "def no_model():\n"
        "    try: sb.probe_model('i', model=sys.argv[1], probe='id')\n"
        "    except sb.SpladeBridgeError as error: return 'address' in str(error)\n"
        "def no_index():\n"
        "    try: sb.serve('none', model=sys.argv[1], port=0)\n"
        "    except sb.SpladeBridgeError as error: return 'none' in str(error)\n"
        "def no_target():\n"
        "    try: sb.export_model(sys.argv[1], 'm', to='vespa')\n"
        "    except sb.SpladeBridgeError as error: return 'onnx' in str(error)\n"
        "def told(call):\n"
        "    try: call()\n"
        "    except sb.SpladeBridgeError as error: return 'made anew' in str(error)\n"
        "called = {\n"
        "  'encode': len(sb.encode(['a file'], model=sys.argv[1], output='v')),\n"
        "  'VectorStore': len(sb.VectorStore('v')),\n"
        "  'quantize': len(list(sb.quantize('v'))),\n"
        "  'prune': len(list(sb.prune('v', method='top-k', value=1))),\n"
        "  'export': sb.export(documents, 'x').counts.documents,\n"
        "  'convert': sb.convert('x', 'c', to='ciff').counts.documents,\n"
        "  'index': sb.index('x', 'i', engine='exact').counts.documents,\n"
        "  'open_index': sb.open_index('i').search_one({'cat': 1}),\n"
        "  'query_encoder': sb.query_encoder(sys.argv[1]).encode('a file')['file'] > 0,\n"
        "  'search': sb.search('i', query),\n"
        "  'dense': refused(),\n"
        "  'evaluate': sb.evaluate({'q': {'a': 1}}, {'q': {'a': 2.0}}, measure='P@1').means,\n"
        "  'verify': sb.verify(['i', 'i'], query).equal,\n"
        "  'delete': told(lambda: sb.delete('i', 'a')),\n"
        "  'inspect': sb.inspect('i').kind,\n"
        "  'explain': sb.explain('i', {'cat': 1}, 'a')[0].score,\n"
        "  'SpladeBridgeError': str(sb.SpladeBridgeError('x')),\n"
        "  'fuse': sb.fuse([{'q': {'a': 7}}, {'q': {'a': 9}}], rank_constant=0),\n"
        "  'rerank': list(sb.rerank({'q': {'a': 7}}, model=sys.argv[1], scorer='sparse',\n"
        "      corpus={'a': 'a file'}, queries={'q': 'file'})['q']),\n"
        "  'beir': no_sets(),\n"
        "  'compare': no_spec(),\n"
        "  'terms': sb.terms(sys.argv[1], 'file', top=1)[0].original,\n"
        "  'export_model': no_target(),\n"
        "  'probe_model': no_model(),\n"
        "  'serve': no_index(),\n"
        "}\n"
        "assert set(called) == set(sb.__all__)\n"
        "print(*called.values(), sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(MODEL)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "1|1|1|1|2|2|2|[('a', 3)]|True|{'q': {'a': 3.0}}|no modules|{'P@1': 1.0}|True|True|index"
        "|3|x|{'q': {'a': 2.0}}|['a']|True|True|True|True|True|True"
    )


def flags(command: str) -> dict[str, Any]:
    """Defaults by the names of a command's long flags."""
    found = {}
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        for name in parameter.opts:
            if name.startswith("--"):
                found[name[2:].replace("-", "_")] = parameter.default
    return found


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("encode", "encode"), ("quantize", "export"), ("export", "export"), ("convert", "convert"),
        ("index", "index"), ("open_index", "search"), ("query_encoder", "search"),
        ("search", "search"), ("evaluate", "evaluate"), ("verify", "verify"),
        ("explain", "explain"), ("terms", "terms"),
         ("prune", "prune"), ("fuse", "fuse"), ("dense", "dense"),
         ("rerank", "rerank"), ("beir", "beir"),
         ("compare", "compare"),
         ("delete", "delete"), ("inspect", "inspect"), ("export_model", "export-model"),
         ("probe_model", "verify"), ("serve", "serve"),
    ],
)  # fmt: skip
def test_keywords_are_named_like_the_flags_and_have_their_defaults(name: str, command: str) -> None:
    known = flags(command)
    known.setdefault("k", known.get("hits"))
    for parameter in inspect.signature(getattr(sb, name)).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        flag = parameter.name.rstrip("_")
        assert flag in known, f"{name}({parameter.name}) is no flag of {command}"
        if type(known[flag]) in (int, bool, str) and flag != "memory":
            assert parameter.default in (known[flag], parameter.empty), flag


PUBLIC = [
    *(getattr(sb, name) for name in sb.__all__ if name != "SpladeBridgeError"),
    OpenIndex.search, OpenIndex.search_one, OpenIndex.explain,
    OpenDenseIndex.search, OpenDenseIndex.search_one,
]  # fmt: skip


@pytest.mark.parametrize("value", PUBLIC, ids=lambda value: value.__qualname__)
def test_every_docstring_names_what_it_takes_and_raises(value: Callable[..., Any]) -> None:
    told = inspect.getdoc(value) or ""
    assert "Args:" in told and "Raises:" in told
    for parameter in set(inspect.signature(value).parameters) - {"self"}:
        assert re.search(rf"\b{parameter}\b[\w, ]*:", told), parameter


def test_shared_keywords_are_shown_with_their_defaults_and_no_others_are_taken() -> None:
    shown = inspect.signature(sb.search).parameters
    assert (shown["max_length"].default, shown["k"].default, shown["clip"].default) == (
        256, 1000, None
    )  # fmt: skip
    assert set(inspect.signature(sb.open_index).parameters) < set(shown)
    assert "max_length: int = 256" in pydoc.render_doc(sb.explain, renderer=pydoc.plaintext)
    for call in (sb.search, sb.verify, sb.export, OpenIndex.search):
        with pytest.raises(
            TypeError, match=f"{call.__name__}.* unexpected keyword argument 'hits'"
        ):
            call(None, None, hits=10)  # type: ignore[operator]


# What the command line gives


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with texts, vectors, queries and judgements as files."""
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"id": i, "text": t}) for i, t in TEXTS.items()]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    (tmp_path / "topics.tsv").write_text("".join(f"{q}\t{t}\n" for q, t in TOPICS.items()))
    lines = [json.dumps({"id": i, "vector": v}) for i, v in PAIRS]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    rows = [f"{q} 0 {d} {g}\n" for q, found in QRELS.items() for d, g in found.items()]
    (tmp_path / "qrels").write_text("".join(rows))
    return tmp_path


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line; its stdout."""

    def run(*arguments: object) -> str:
        status, out, err = command_line.run(capfd, *arguments)
        assert status == 0, err
        return out

    return run


FUSED_RUNS = [
    {"q1": {"d1": 3.0, "d2": 1.0}, "q2": {"d2": 5.0}},
    {"q1": {"d9": 3, "d1": 2}, "q2": {"d1": 1, "d2": 0.5}, "q4": {"d3": 1.0}},
]


def test_runs_are_fused_as_by_the_command(cli: Callable[..., str], work: Path) -> None:
    """From files, from memory and from DataFrames, tuned and not."""
    pandas = pytest.importorskip("pandas")
    for name, run in zip("ab", FUSED_RUNS, strict=True):
        (work / name).write_text(json.dumps(run))
    rows = [(q, d, s) for q, found in FUSED_RUNS[1].items() for d, s in found.items()]
    frame = pandas.DataFrame(rows, columns=["qid", "docno", "score"])
    plain: dict[str, Any] = {"fusion": "combsum", "weight": [1, 3], "k": 2}
    cli("fuse", "a", "b", "--fusion", "combsum", "--weight", 1, "--weight", 3, "-k", 2, "-o", "r1")
    tuning: dict[str, Any] = {"rank_constant": [60, 1], "tune": "nDCG@2", "folds": 2, "seed": 3}
    told = json.loads(
        cli("fuse", "a", "b", "--rank-constant", 60, "--rank-constant", 1, "--tune", "nDCG@2",
            "--qrels", "qrels", "--folds", 2, "--seed", 3, "-o", "r2", "--json")
    )  # fmt: skip
    for runs in (["a", work / "b"], FUSED_RUNS, [FUSED_RUNS[0], frame]):
        found = sb.fuse(runs, **plain, output=work / "mine", overwrite=True)
        assert found == read_run(work / "r1") and found.tuning is None
        assert (work / "mine").read_bytes() == (work / "r1").read_bytes()
        assert (found.summary.queries, found.summary.results) == (3, 5)
        tuned = sb.fuse(runs, **tuning, qrels=QRELS)
        assert tuned == read_run(work / "r2")
        assert tuned.tuning is not None and tuned.tuning.held_out == told["tuning"]["held_out"]
    assert list(sb.fuse(FUSED_RUNS).to_pandas().columns) == ["qid", "docno", "score", "rank"]
    wrong: list[dict[str, Any]] = [
        {"tune": "AP"}, {"qrels": QRELS}, {"rank_constant": [1, 2]}, {"k": 0}, {"weight": [1]},
        {"output": "r1"}, {"fusion": "sum"},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(UsageError):
            sb.fuse(FUSED_RUNS, **options)


def content(folder: Path, *without: str) -> dict[str, bytes]:
    """The files of a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in without
    }


@pytest.mark.long
def test_the_whole_chain_gives_what_the_command_line_gives(
    work: Path, cli: Callable[..., str]
) -> None:
    pytest.importorskip("torch")
    cli("encode", "texts.jsonl", "-m", MODEL, "-o", "v")
    cli("encode", "topics.tsv", "-m", MODEL, "--side", "query", "-o", "q")
    ours = sb.encode("texts.jsonl", model=MODEL, output="v2")
    assert content(work / "v2") == content(work / "v")
    in_memory = sb.encode(TEXTS, model=MODEL)
    assert list(in_memory) == list(ours) == list(sb.VectorStore("v"))
    asked = sb.encode(TOPICS.items(), model=str(MODEL), side="query")
    assert list(asked) == list(sb.VectorStore("q"))
    assert asked.manifest.encoding == sb.VectorStore("q").manifest.encoding
    stored = sb.encode(iter(TEXTS.items()), model=MODEL, output="v3")
    assert content(work / "v3", "_plan.json", "_manifest.json") == content(
        work / "v", "_plan.json", "_manifest.json"
    )
    assert stored.manifest.counts == ours.manifest.counts

    cli("index", "v", "-e", "exact", "-o", "i", "--scale", "50", "--rounding", "down")
    sb.index("v", "i2", engine="exact", scale=50, rounding="down")
    sb.index(in_memory, "i3", engine="exact", scale=50, rounding="down")
    assert content(work / "i2") == content(work / "i")
    assert content(work / "i3", "manifest.json") == content(work / "i", "manifest.json")

    cli("search", "i", "--queries", "q", "-k", "2", "-o", "run")
    run = sb.search("i", asked, k=2, output="run2")
    assert (work / "run2").read_bytes() == (work / "run").read_bytes()
    assert run == read_run(work / "run") == sb.search("i", "topics.tsv", model=MODEL, k=2)
    assert run == sb.search("i", list(asked), k=2) == sb.search("i", dict(asked), k=2)

    measures = ["--measure", "nDCG@10", "--measure", "P@1"]
    told = json.loads(cli("evaluate", "qrels", "run", *measures, "--json", "--per-query"))
    found = sb.evaluate(QRELS, run, measure=["nDCG@10", "P@1"])
    assert (found.means, found.per_query) == (told["measures"], told["per_query"])
    assert (found.missing, found.unjudged) == (told["missing"], told["unjudged"])
    assert found == sb.evaluate("qrels", "run", measure=["nDCG@10", "P@1"])

    told = json.loads(cli("explain", "i", "q1", "d1", "--queries", "q", "--json"))
    terms = sb.explain("i", TOPICS["q1"], "d1", model=MODEL)
    assert [(c.term, c.weight, c.impact, c.score) for c in terms] == [
        (t["term"], t["weight"], t["impact"], t["score"]) for t in told["terms"]
    ]


def test_exports_and_pruned_vectors_are_those_of_the_command_line(
    work: Path, cli: Callable[..., str]
) -> None:
    pytest.importorskip("torch")
    both = ["-f", "jsonvector", "-f", "ciff"]
    cli("export", "docs.jsonl", *both, "--gzip", "-o", "x")
    sb.export("docs.jsonl", "x2", format=["jsonvector", "ciff"], gzip=True)
    assert content(work / "x2") == content(work / "x")
    sb.export(iter(PAIRS), "x3", format=["jsonvector", "ciff"], gzip=True)
    read = work / "x3" / "jsonvector" / "part-00000.jsonl.gz"
    assert read.read_bytes() == (work / "x/jsonvector/part-00000.jsonl.gz").read_bytes()

    cli("encode", "texts.jsonl", "-m", MODEL, "-o", "v")
    steps = {"method": ["top-k", "max-share"], "value": [8, 0.5]}
    flagged = ["--method", "top-k", "--value", "8", "--method", "max-share", "--value", "0.5"]
    cli("prune", "v", *flagged, "-o", "p")
    there = sb.prune("v", "p2", **steps)
    assert content(work / "p2") == content(work / "p")
    pruned = sb.prune(sb.VectorStore("v"), **steps)
    assert list(pruned) == list(there) == list(sb.prune(dict(sb.VectorStore("v")), **steps))
    assert pruned.manifest.pruning == sb.VectorStore("p").manifest.pruning
    assert list(sb.prune(sb.encode(TEXTS, model=MODEL), "p3", **steps)) == list(there)

    cli("prune", "docs.jsonl", "--method", "threshold", "--value", "3", "-o", "t")
    there = sb.prune("docs.jsonl", "t2", method="threshold", value=3)
    assert content(work / "t2") == content(work / "t")
    expected = [("d1", {"cat": 3}), ("d2", {"dog": 5}), ("d3", {"dog": 5}), ("d4", {})]
    assert list(there) == list(sb.prune(iter(PAIRS), method="threshold", value=3)) == expected
    sb.prune(PAIRS, "t3", method="threshold", value=3)
    assert content(work / "t3", "manifest.json") == content(work / "t", "manifest.json")

    (work / "topics-w.tsv").write_text("q1\ta a a b\nq2\tb\n")
    cli("prune", "topics-w.tsv", "--method", "top-k", "--value", "1", "-o", "w")
    there = sb.prune("topics-w.tsv", "w2", method="top-k", value=1)
    assert content(work / "w2") == content(work / "w")
    in_memory = sb.prune("topics-w.tsv", method="top-k", value=1)
    assert list(there) == list(in_memory) == [("q1", {"a": 3}), ("q2", {"b": 1})]


def test_verify_says_what_the_command_line_says(work: Path, cli: Callable[..., str]) -> None:
    sb.index(PAIRS, "a", engine="exact")
    sb.index([*PAIRS[:2], ("d3", {"dog": 4})], "b", engine="exact")
    (work / "queries.tsv").write_text("q\tcat dog\n")
    found = sb.verify(["a", "b"], {"q": {"cat": 1, "dog": 1}}, k=3)
    assert not found.equal and found.differing == {"b": 1}
    (difference,) = found.differences
    assert (difference.query_id, difference.rank) == ("q", 2)
    with sb.open_index("a") as index:
        assert sb.verify([index, "a"], "queries.tsv").equal
    with pytest.raises(UsageError):
        sb.verify(["a"], "queries.tsv")


# Vectors in memory


@pytest.mark.sample(1, of="pisa")
def test_an_index_of_any_engine_answers_as_brute_force(tmp_path: Path, engine_name: str) -> None:
    terms = [f"t{i}" for i in range(30)]
    documents, asked = random_matrix(5, 60, 30, 0.2, 9), random_matrix(6, 12, 30, 0.2, 5)
    doc_ids = [f"d{i}" for i in range(60)]

    def pairs(matrix: np.ndarray, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for i, row in enumerate(matrix):  # numpy's numbers, as they come out of arrays
            yield f"{prefix}{i}", {terms[j]: row[j] for j in np.flatnonzero(row)}

    sb.index(pairs(documents, "d"), tmp_path / "i", engine=engine_name)
    expected = {
        f"q{i}": {d: float(s) for d, s in brute_force(documents, doc_ids, row, 10)}
        for i, row in enumerate(asked)
    }
    with sb.open_index(tmp_path / "i") as index:
        run = index.search(pairs(asked, "q"), k=10)
        assert run == expected
        assert [list(found) for found in run.values()] == [list(f) for f in expected.values()]
        queries = dict(pairs(asked, "q"))
        some = list(queries)[:4]
        with ThreadPoolExecutor(4) as threads:
            alone = threads.map(lambda q: index.search_one(queries[q], k=10), some)
        assert [dict(found) for found in alone] == [expected[q] for q in some]
        best = next(q for q in some if expected[q])
        doc_id, score = index.search_one(queries[best], k=1)[0]
        assert sum(c.score for c in index.explain(queries[best], doc_id)) == score


rows = st.lists(
    st.dictionaries(st.text("abcde", min_size=1), st.integers(1, 1000), max_size=6), min_size=1
)


@given(rows)
def test_impacts_come_back_as_they_went_in(found: list[dict[str, int]]) -> None:
    pairs = [(f"d{i}", row) for i, row in enumerate(found)]
    impacts = sb.quantize(pairs)
    for _ in range(2):
        assert dict(impacts) == dict(pairs)
    as_weights = [(i, {t: w / 128 for t, w in row.items()}) for i, row in pairs]
    if any(w % 128 for row in found for w in row.values()):  # else they are whole: impacts
        assert dict(sb.quantize(iter(as_weights), scale=128)) == dict(pairs)


def test_integers_are_impacts_and_floats_are_weights() -> None:
    assert dict(sb.quantize([("a", {"x": 3}), ("b", {})])) == {"a": {"x": 3}, "b": {}}
    assert dict(sb.quantize([("e", {}), ("a", {"x": 0.034, "y": 1})])) == {
        "e": {}, "a": {"x": 3, "y": 100},
    }  # fmt: skip
    assert dict(sb.quantize([("a", {"x": np.float32(0.5)})], scale=10)) == {"a": {"x": 5}}
    # A scale is for weights: integers among floats are weights, integers alone are not.
    mixed = [("a", {"x": 3}), ("b", {"x": 0.25})]
    assert dict(sb.quantize(mixed, scale=10)) == {"a": {"x": 30}, "b": {"x": 2}}
    with pytest.raises(UsageError, match=r"holds integers only, .* --scale 10 is for float"):
        dict(sb.quantize([("a", {"x": 3})], scale=10))
    with pytest.raises(UsageError, match="--rounding down is for float weights"):
        dict(sb.quantize([("a", {"x": 3})], rounding="down"))
    assert dict(sb.quantize([("a", {"x": 3, "y": 9})], clip=5)) == {"a": {"x": 3, "y": 5}}
    impacts = sb.quantize([("a", {"x": 3, "y": 9})])
    assert dict(sb.quantize(impacts, clip=5)) == {"a": {"x": 3, "y": 5}}
    with pytest.raises(UsageError, match="holds integers, which are impacts already"):
        sb.quantize(impacts, scale=2)
    assert dict(sb.quantize([("a", {"x": 0.0, "y": 0.25})], clip=7)) == {"a": {"y": 7}}
    source = sb.quantize([("a", {"x": 0.001, "y": 0.5})]).open_source()
    list(source.batches())
    assert source.quantization and source.quantization.dropped_to_zero == 1


def test_vectors_are_taken_in_any_shape(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    expected = dict(PAIRS)
    frame = pandas.DataFrame({"docno": [i for i, _ in PAIRS], "toks": [v for _, v in PAIRS]})
    for shape in (
        PAIRS, iter(PAIRS), expected, [list(p) for p in PAIRS], frame,
        [{"id": i, "vector": v} for i, v in PAIRS], sb.quantize(PAIRS),
        sb.quantize(PAIRS).to_pandas(),
    ):  # fmt: skip
        assert dict(sb.quantize(shape)) == expected
    numbered = sb.quantize([(7, {"x": 1}), (np.int64(8), {"x": 1})])
    assert [i for i, _ in numbered] == ["7", "8"]


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([("a", {"x": 1}), ("a", {"x": 1})], "document 2: id 'a' was there before"),
        ([("a", {"x": 1}), ("b", {"x": 0.5})], "document 2: term 'x': 0.5 is not an integer"),
        ([("a", {"x": 1}), ("b c", {"x": 1})], "document 2: id 'b c'"),
        ([("a", {"x": -1})], "document 1: term 'x': a weight must be from 0"),
        ([("a", {"x": float("nan")})], "document 1: term 'x': a weight must be from 0"),
        ([("a", {"x": True})], "document 1: term 'x': True is not a number"),
        ([("a", {"x": "1"})], "document 1: term 'x': '1' is not a number"),
        ([("a", {3: 1})], "document 1: a term must be a string, not 3"),
        ([("a", {"": 1})], "document 1: an empty term"),
        ([("a", {"x": 2**31})], "document 1: an impact over"),
        ([("a", [1, 2])], "document 1: a vector is (id, {'term': 12})"),
        (["a"], "document 1: a vector is"),
        ([("a", {"x": 1}, 3)], "document 1: a vector is"),
        ([{"id": "a"}], "document 1: a vector is"),
        ([(None, {"x": 1})], "document 1: an id must be a string"),
        ([], "<memory>: holds no documents"),
        ([("a", {})], "<memory>: none of its 1 documents has a term"),
    ],
)
def test_broken_vectors_are_named_by_their_place(documents: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        sb.index(documents, tmp_path / "i", engine="exact")
    assert str(caught.value).startswith(says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([("a", "x"), ("a", "y")], "document 2: id 'a' was there before"),
        ([("a", 3)], "document 1: a text is a string, (id, text) or a record"),
        ([{"id": "a", "title": "x"}], "document 1: no field contents or text"),
        ([{"text": "x"}], "document 1: no field id or _id or docid or docno"),
        ([], "<memory>: no texts in it"),
    ],
)
def test_broken_texts_are_named_by_their_place(texts: Any, says: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(BadInputError) as caught:
        sb.encode(texts, model=MODEL)
    assert str(caught.value).startswith(says)


def test_texts_are_taken_in_any_shape() -> None:
    pytest.importorskip("torch")
    pandas = pytest.importorskip("pandas")
    texts = {"0": "open a file", "1": "sort a list"}
    expected = list(sb.encode(texts, model=MODEL))
    frame = pandas.DataFrame({"docno": [0, 1], "text": list(texts.values())})
    cut = {i: t.split(" ", 1) for i, t in texts.items()}
    records = [{"_id": i, "title": title, "text": rest} for i, (title, rest) in cut.items()]
    for shape in (list(texts.values()), iter(texts.items()), frame, records):
        assert list(sb.encode(shape, model=MODEL)) == expected
    asked = list(sb.encode(texts, model=MODEL, side="query"))
    frame = pandas.DataFrame({"qid": ["0", "1"], "query": list(texts.values())})
    assert list(sb.encode(frame, model=MODEL, side="query")) == asked


def test_what_would_do_nothing_is_refused(tmp_path: Path) -> None:
    docs, out = [("d1", {"x": 3})], tmp_path / "out"
    index = tmp_path / "i"
    sb.index(docs, index, engine="exact")
    for call, said in (
        (lambda: sb.export(docs, out, format="ciff", with_contents=[("d1", "x")]), "with-contents"),
        (lambda: sb.export(docs, out, format="ciff", docs_per_file=7), "docs-per-file"),
        (lambda: sb.search(index, docs, threads=2), "threads 2 has no effect"),
        (lambda: sb.search(index, docs, scale=2), "scale 2 is for float"),
        (lambda: sb.search(index, docs, candidates=2000), "two-step"),
        (lambda: sb.search(index, docs, tag="t", output_format="msmarco"), "tag has no effect"),
        (lambda: sb.encode(["x"], model="m", query_mode="bow"), "query-mode bow has no effect"),
    ):
        with pytest.raises(UsageError, match=said):
            call()
        assert not out.exists()


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    sb.index(PAIRS, tmp_path / "i", engine="exact")
    wrong: list[Callable[[], object]] = [
        lambda: sb.index(PAIRS, tmp_path / "i", engine="exact"),
        lambda: sb.index(PAIRS, tmp_path / "j", engine="exact", rounding="up"),
        lambda: sb.index(PAIRS, tmp_path / "j", engine="exact", pisa_profile="small"),
        lambda: sb.index(PAIRS, tmp_path / "j", engine="pisa", pisa_encoding="none"),
        lambda: sb.index(PAIRS, tmp_path / "j", engine="exact", memory="2X"),
        lambda: sb.index(PAIRS, tmp_path / "j", engine="exact", from_="ciff"),
        lambda: sb.index(3, tmp_path / "j", engine="exact"),
        lambda: sb.export(PAIRS, tmp_path / "j", format="csv"),
        lambda: sb.prune(PAIRS, method=["top-k"], value=[1, 2]),
        lambda: sb.prune(PAIRS, method="top", value=1),
        lambda: sb.prune(PAIRS, method="top-k", value=1, side="left"),
        lambda: sb.search(tmp_path / "i", {"q": "cat"}),
        lambda: sb.search(tmp_path / "i", {"q": {"cat": 1}}, k=0),
        lambda: sb.search(tmp_path / "i", {"q": {"cat": 1}}, algorithm="guess"),
        lambda: sb.search(tmp_path / "i", {"q": {"cat": 1}}, output_format="csv"),
        lambda: sb.search(tmp_path / "i", {"q": {"cat": 1}}, tag="two words"),
        lambda: sb.encode(TEXTS, model=MODEL, side="both"),
        lambda: sb.encode(TEXTS, model=MODEL, pooling="mean"),
        lambda: sb.evaluate(QRELS, {"q1": {"d1": 1.0}}, measure="nonsense"),
        lambda: sb.evaluate(QRELS, {"q1": {"d1": 1.0}}, missing="maybe"),
    ]
    for call in wrong:
        with pytest.raises(UsageError):
            call()
    with pytest.raises(BadInputError):
        sb.quantize(PAIRS, scale=0)
    with pytest.raises(BadInputError):
        sb.open_index(tmp_path / "nothing")
    with pytest.raises(BadInputError):
        sb.explain(tmp_path / "i", {"cat": 1}, "d9")
    with pytest.raises(MismatchError):
        sb.search(tmp_path / "i", {"q": {"horse": 1}})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["i"]
    sb.index(PAIRS[:1], tmp_path / "i", engine="exact", overwrite=True)


# Searching


def test_an_open_index_answers_what_it_can(tmp_path: Path) -> None:
    sb.index(PAIRS, tmp_path / "i", engine="exact")
    with sb.open_index(str(tmp_path / "i")) as index:
        assert index.search_one({"cat": 0.01, "dog": 0.02}) == [("d2", 11), ("d3", 10), ("d1", 3)]
        assert index.search_one({"cat": 1}, k=1) == [("d1", 3)]
        assert index.search_one({"horse": 1}) == index.search_one({}) == []
        found = index.search({"d1": {"cat": 1}, "none": {"horse": 2}}, remove_query=True)
        assert found == {"d1": {"d2": 1.0}, "none": {}}
        assert found.summary.without_results == ["none"]
        with pytest.raises(UsageError):
            index.search_one("a text")
        with pytest.raises(BadInputError, match="query 2: id 'q' was there before"):
            index.search([("q", {"cat": 1}), ("q", {"cat": 1})])
        with pytest.raises(BadInputError, match="holds no queries"):
            index.search([])
        index.search({"q": {"cat": 1}}, output=tmp_path / "run")
        with pytest.raises(UsageError):
            index.search({"q": {"cat": 1}}, output=tmp_path / "run")
    assert read_run(tmp_path / "run") == {"q": {"d1": 3.0, "d2": 1.0}}


def test_two_steps_score_from_the_full_vectors(tmp_path: Path) -> None:
    sb.index(sb.prune(PAIRS, method="top-k", value=1), tmp_path / "first", engine="exact")
    sb.export(PAIRS, tmp_path / "full", format="forward")
    found = sb.search(
        tmp_path / "first", {"q": {"cat": 1, "##s": 1}}, two_step=tmp_path / "full/forward", k=5
    )
    assert found == {"q": {"d1": 5.0}}


def test_passages_are_folded(tmp_path: Path) -> None:
    passages = [("a#0", {"x": 1}), ("a#1", {"x": 3}), ("b#0", {"x": 2})]
    sb.index(passages, tmp_path / "i", engine="exact")
    found = sb.search(tmp_path / "i", {"q": {"x": 1}}, max_passage=True)
    assert found == {"q": {"a": 3.0, "b": 2.0}}


# Runs and judgements


def test_runs_and_judgements_are_taken_in_any_shape(work: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run = {"q1": {"d1": 2.0, "d2": 1.5}, "q2": {"d3": 1.0}}
    flat = [(q, d, s) for q, found in run.items() for d, s in found.items()]
    judged = [(q, d, g) for q, found in QRELS.items() for d, g in found.items()]
    expected = sb.evaluate(QRELS, run, measure="nDCG@10")
    trec_qrel = namedtuple("trec_qrel", "query_id doc_id relevance iteration")
    for found in (
        pandas.DataFrame(flat, columns=["qid", "docno", "score"]),
        pandas.DataFrame(flat, columns=["query_id", "doc_id", "score"]),
        [ir_measures.ScoredDoc(*row) for row in flat],
        [dict(zip(("qid", "docno", "score"), row, strict=True)) for row in flat],
        {q: {d: np.float32(s) for d, s in documents.items()} for q, documents in run.items()},
    ):
        for judgements in (
            "qrels",
            pandas.DataFrame(judged, columns=["qid", "docno", "label"]),
            [ir_measures.Qrel(*row) for row in judged],
            (trec_qrel(*row, "0") for row in judged),
        ):
            assert sb.evaluate(judgements, found, measure="nDCG@10") == expected
    nothing = sb.evaluate(QRELS, {**run, "q4": {}}, measure="nDCG@10")
    assert nothing == expected and nothing.missing == ["q4"]


@pytest.mark.parametrize(
    ("read", "value", "says"),
    [
        (given_values.run, {"q": {"d": "high"}}, "query q, document d: 'high' is not a score"),
        (given_values.run, {"q": {"d": float("nan")}}, "query q, document d: nan is not a score"),
        (given_values.run, {"q": ["d"]}, "query q: must be"),
        (given_values.run, [{"qid": "q", "score": 1}], "row 1: has no docno or doc_id"),
        (given_values.run, [{"qid": 1, "docno": 2, "score": 3}] * 2, "query 1, document 2: st"),
        (given_values.qrels, {"q": {"d": 0.5}}, "query q, document d: 0.5 is not a grade"),
        (given_values.qrels, {"q": {"d": None}}, "query q, document d: None is not a grade"),
        (given_values.qrels, {}, "<memory>: holds no judgements"),
    ],
)
def test_broken_runs_and_judgements_are_named(read: Any, value: Any, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(value)
    assert str(caught.value).startswith(says)


def test_runs_are_frames_as_pyterrier_has_them(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    sb.index(PAIRS, tmp_path / "i", engine="exact")
    frame = sb.search(tmp_path / "i", {"q": {"dog": 1}, "r": {"horse": 1}}).to_pandas()
    assert frame.to_dict("list") == {
        "qid": ["q", "q"], "docno": ["d2", "d3"], "score": [5.0, 5.0], "rank": [0, 1],
    }  # fmt: skip


# PyTerrier


@pytest.mark.long
def test_pyterrier_pipelines_find_what_search_finds(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyterrier")
    from splade_bridge.library.pyterrier import SparseEncoder, SparseRetriever

    corpus = pandas.DataFrame({"docno": list(TEXTS), "text": list(TEXTS.values())})
    encoded = SparseEncoder(MODEL, side="document")(corpus)
    vectors = dict(zip(encoded.docno, encoded.toks, strict=True))
    assert vectors == dict(sb.encode(TEXTS, model=MODEL))
    sb.index(encoded, tmp_path / "i", engine="exact")
    topics = pandas.DataFrame({"qid": list(TOPICS), "query": list(TOPICS.values())})
    expected = sb.search(tmp_path / "i", topics, model=MODEL, k=2)
    with sb.open_index(tmp_path / "i") as index:
        pipeline = SparseEncoder(MODEL) >> SparseRetriever(index, k=2)
        found = pipeline(topics)
        assert given_values.run(found) == {q: d for q, d in expected.items() if d}
        assert list(found["rank"]) == [n for d in expected.values() for n in range(len(d))]
        assert set(found.columns) == {"qid", "docno", "score", "rank", "query", "query_toks"}
        assert set(pipeline(topics.head(0)).columns) == set(found.columns)
        again = SparseRetriever(index, k=1)(found)  # what was found before is searched anew
        assert list(again.docno) == [next(iter(d)) for d in expected.values()]
    with_model = SparseRetriever(tmp_path / "i", k=2, model=MODEL)
    assert given_values.run(with_model(topics)) == given_values.run(found)
    with_model.close()


def test_a_query_encoder_gives_the_impacts_that_a_search_uses() -> None:
    pytest.importorskip("torch")
    encoder = sb.query_encoder(MODEL)
    found = {query: encoder.encode(text) for query, text in TOPICS.items()}
    wanted = dict(sb.quantize(sb.encode(TOPICS, model=MODEL, side="query")))
    assert (encoder.scale, found) == (100, wanted)
    assert all(type(impact) is int for query in found.values() for impact in query.values())
    coarse = sb.query_encoder(MODEL, scale=2, rounding="down", clip=3, max_length=4)
    few = sb.encode(TOPICS, model=MODEL, side="query", max_length=4)
    assert {query: coarse.encode(text) for query, text in TOPICS.items()} == dict(
        sb.quantize(few, scale=2, rounding="down", clip=3)
    )
    with pytest.raises(UsageError, match="a query is a string, not 7"):
        encoder.encode(7)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="a scale must be greater than 0"):
        sb.query_encoder("no such model", scale=0)
