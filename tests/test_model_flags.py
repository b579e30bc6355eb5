"""Whoever takes a model takes its revision, its prompts and leave for its code: none is forgotten.

Which commands, calls, recipes and specifications take one is read from what they say themselves.
"""

from __future__ import annotations

import builtins
import inspect
import json
import re
import shlex
import shutil
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.models import ArgumentInfo, OptionInfo

import command_line
import splade_bridge as sb
from checkpoints import (
    cached,
    one_thread,  # noqa: F401
    save_bert,
    save_checkpoint,
    save_dense,
    with_own_code,
)
from documented import TABLES
from splade_bridge.cli.train import attributes
from splade_bridge.comparison.read_checkpoint import KEYS
from splade_bridge.encoding.choices import ModelChoices, PairChoices
from splade_bridge.files.outputs import manifest_file
from splade_bridge.training.ready import MODELS
from splade_bridge.training.recipe import Recipe

COMMANDS = dict(TABLES["commands"]())
ALWAYS = {"revision", "trust_remote_code"}
ONE = {field.name for field in fields(ModelChoices)}
PAIR = {field.name for field in fields(PairChoices)}
TERMS_ALONE = {"query_mode", "normalize"}
TAKES: dict[str, set[str]] = {
    "encode": ONE,
    "export": ONE,
    "search": ONE,
    "verify": ONE,
    "bench": ONE,
    "explain": ONE,
    "terms": ONE,
    "serve": ONE,
    "rerank": PAIR,
    "beir": PAIR,
    "train mine": PAIR,
    "train score": PAIR,
    "dense": ONE - TERMS_ALONE,  # its --similarity cosine normalizes
    "export-model": ALWAYS,  # what is exported is the model as it is
    "demo": ALWAYS,  # of a model as its folder has it
    "train mlm": ALWAYS,  # trains a network
    "train recipe": {"trust_remote_code"},  # revisions are keys of the recipe
    "compare": {"trust_remote_code"},  # all else are keys of the specification
}
"""Every command that loads a model, and what it takes beside the model's name."""
CALLS: dict[str, set[str]] = {
    "encode": ONE,
    "open_index": ONE,
    "search": ONE,
    "verify": ONE,
    "explain": ONE,
    "query_encoder": ONE,
    "terms": ONE,
    "serve": ONE,
    "rerank": PAIR,
    "beir": PAIR,
    "dense": ONE - TERMS_ALONE,
    "export_model": ALWAYS,
    "probe_model": ALWAYS,
    "compare": {"trust_remote_code"},
}
"""The same for Python."""


def told(command: str) -> list[str]:
    """What the parameters of a command say of themselves."""
    found = []
    for parameter in inspect.signature(COMMANDS[command]).parameters.values():
        for mark in get_args(parameter.annotation):
            if isinstance(mark, OptionInfo | ArgumentInfo):
                found.append(f"{mark.metavar or ''} {mark.help or ''}")
    return found


def test_every_command_that_takes_a_model() -> None:
    """A new one stands in ``TAKES``; ``compare`` and recipes name theirs in a file."""
    naming = {"compare", "train recipe"}
    taking = {
        command
        for command in COMMANDS
        if any(re.search(r"\bMODEL\b|hub name|[Cc]heckpoint", text) for text in told(command))
    }
    none = {"convert", "index", "inspect", "prune"}  # --vocabulary, the terms of a checkpoint alone
    assert taking - none | naming == TAKES.keys()
    for command, wanted in TAKES.items():
        parameters = set(inspect.signature(COMMANDS[command]).parameters)
        assert wanted <= parameters, command
        assert parameters & (ONE | PAIR) == wanted, command


def test_every_call_that_takes_a_model() -> None:
    taking = {
        name
        for name in sb.__all__
        if inspect.isfunction(call := getattr(sb, name))
        and (
            "model" in inspect.signature(call).parameters
            or re.search(r"hub name|[Cc]heckpoint", inspect.getdoc(call) or "")
        )
    }
    none = {"convert", "index", "inspect", "prune"}
    assert taking - none == CALLS.keys()
    for name, wanted in CALLS.items():
        parameters = set(inspect.signature(getattr(sb, name)).parameters)
        assert parameters & (ONE | PAIR) == wanted, name


def test_the_transformer_of_pyterrier() -> None:
    pytest.importorskip("pyterrier")
    from splade_bridge.library.pyterrier import SparseEncoder

    assert set(inspect.signature(SparseEncoder).parameters) >= ONE


def test_every_key_of_a_recipe_that_names_a_model_has_a_revision() -> None:
    says = re.compile(r"hub name|^checkpoint|language model (of|to)|^encodes", re.IGNORECASE)
    named: dict[str, set[str]] = {}
    for section, kind in get_type_hints(Recipe).items():
        for options in (k for k in (kind, *get_args(kind)) if is_dataclass(k)):
            said = attributes(options.__doc__ or "")
            own = {f.name for f in fields(options)}
            keys = {key for key in own & said.keys() if says.search(said[key])}
            keys = {key for key in keys if "revision" not in key}
            if keys:
                named[section] = keys
                assert set(MODELS[section].values()) <= own
    assert named == {section: set(keys) for section, keys in MODELS.items()}


def test_every_setting_is_a_key_of_a_specification() -> None:
    assert set(KEYS) >= ONE - {"trust_remote_code"}


# What they do with it


@dataclass(frozen=True)
class Asked:
    """A command line with ``{m}`` for the model."""

    name: str
    kind: str
    words: str
    imports: tuple[str, ...] = ()
    long: bool = False
    to_its_end: bool = True  # the demo's takes a minute


ASKED = [
    Asked("encode", "terms", "encode c.tsv -m {m} -o out"),
    Asked("export", "terms", "export c.tsv -m {m} -o out"),
    Asked("search", "terms", "search i -q q.tsv -m {m} -o out --allow-mismatch"),
    Asked("verify", "terms", "verify i i -q q.tsv -m {m} --allow-mismatch"),
    Asked("bench", "terms", "bench i -q q.tsv -m {m} -k 2 --repeat 1 --allow-mismatch"),
    Asked("explain", "terms", "explain i q1 d1 -q q.tsv -m {m} --allow-mismatch"),
    Asked("terms", "terms", "terms {m} 'the cat'"),
    Asked("rerank", "terms", "rerank r -m {m} --scorer sparse --corpus c.tsv -q q.tsv -o out"),
    Asked("rerank", "dense", "rerank r -m {m} --scorer dense --corpus c.tsv -q q.tsv -o out"),
    Asked("rerank", "pairs", "rerank r -m {m} --corpus c.tsv -q q.tsv -o out"),
    Asked("beir", "terms", "beir set -m {m} -o out"),
    Asked("beir", "terms", "beir b.toml -o out"),
    Asked("compare", "terms", "compare s.toml -o out"),
    Asked("compare", "pairs", "compare r.toml -o out"),
    Asked("dense", "dense", "dense c.tsv -m {m} -o out", ("faiss",)),
    Asked("export-model", "terms", "export-model {m} -o out --to opensearch", long=True),
    Asked("demo", "terms", "demo -m {m} -o out", to_its_end=False),
    Asked("train mine", "terms",
          "train mine --queries q.tsv --qrels qrels --corpus c.tsv -m {m} -o out --negatives 1"),
    Asked("train score", "terms", "train score --pairs p.jsonl -m {m} --teacher sparse -o out"),
    Asked("train score", "dense", "train score --pairs p.jsonl -m {m} --teacher dense -o out"),
    Asked("train score", "pairs", "train score --pairs p.jsonl -m {m} -o out"),
    Asked("train mlm", "terms", "train mlm --texts t.txt --base {m} -o out --steps 1 --block 8 "
          "--batch-size 1", long=True),
    Asked("train recipe", "terms", "train t.toml -o out --set model.base={m}", long=True),
    Asked("train recipe", "pairs", "train k.toml -o out --set model.base={m}", long=True),
]  # fmt: skip
AUTO = {
    "terms": ("AutoModelForMaskedLM", "BertForMaskedLM"),
    "dense": ("AutoModel", "BertModel"),
    "pairs": ("AutoModelForSequenceClassification", "BertForSequenceClassification"),
}
RECIPE = """
title = "t"
[model]
base = "m"
[data]
format = "jsonl"
path = "p.jsonl"
negatives = 1
[loss]
contrastive = 1
[train]
steps = 1
batch_size = 2
"""
SPEC = """
[data]
corpus = "set"
topics = "set"
qrels = "set"
[engines]
exact = []
[bench]
repeat = 1
ks = [1]
"""
VARIANT = '[[variant]]\nname = "one"\nmodel = "{m}"\n'
VECTORS = '[[variant]]\nname = "one"\ndocuments = "../v"\nqueries = "../qv"\n'
RERANKED = "[[variant]]\nname = 'two'\ndocuments = '../v'\nqueries = '../qv'\n"
BEIR = 'folders = ["set"]\nmeasure = ["nDCG@10"]\n[[model]]\nmodel = "{m}"\n'


def test_every_command_is_tried() -> None:
    """But serve, which does not end by itself and loads as ``search`` does."""
    assert {asked.name for asked in ASKED} == TAKES.keys() - {"serve"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a run, judgements, an index; models of three kinds, and others in the hub's cache."""
    folder = tmp_path_factory.mktemp("world")
    texts = {"d1": "the cat of his", "d2": "it was not", "d3": "that is for the"}
    (folder / "c.tsv").write_text("".join(f"{d}\t{t}\n" for d, t in texts.items()))
    (folder / "q.tsv").write_text("q1\tthe cat\nq2\tit was\n")
    (folder / "t.txt").write_text("\n".join(texts.values()) * 9 + "\n")
    (folder / "r").write_text("q1 Q0 d1 1 2 t\nq1 Q0 d2 2 1 t\n")
    (folder / "qrels").write_text("q1 0 d1 1\nq2 0 d2 1\n")
    (folder / "set" / "qrels").mkdir(parents=True)
    (folder / "set" / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"
    )
    for name, lines in (("corpus", texts), ("queries", {"q1": "the cat", "q2": "it was"})):
        rows = [json.dumps({"_id": i, "text": t}) for i, t in lines.items()]
        (folder / "set" / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    pair = {"query": "the cat", "positive": texts["d1"], "negatives": [texts["d2"]]}
    other = {"query": "it was", "positive": texts["d2"], "negatives": [texts["d3"]]}
    (folder / "p.jsonl").write_text(f"{json.dumps(pair)}\n{json.dumps(other)}\n")
    (folder / "t.toml").write_text(RECIPE)
    reranker = RECIPE.replace("[loss]\ncontrastive = 1", "[reranker]\nloss = 'pointwise'")
    (folder / "k.toml").write_text(reranker)
    save_all(folder / "own", 0)
    save_all(folder / "other", 1)
    for kind in AUTO:
        place = {"first": folder / "own" / kind, "v2": folder / "other" / kind}
        cached(folder / "cache", f"someone/{kind}", place)
    return folder


def save_all(folder: Path, seed: int) -> None:
    save_checkpoint(folder / "terms", seed=seed)
    save_dense(folder / "dense", seed=seed)
    save_bert(folder / "pairs", "cross-encoder", seed=seed)


@pytest.fixture
def here(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Path:
    """A folder with all that, where nobody may be asked and no hub is reached."""
    for file in world.iterdir():
        if file.name not in ("own", "other", "cache"):
            (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(world / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))

    def refuse(*_: object) -> str:
        raise AssertionError("asked on stdin")

    monkeypatch.setattr(builtins, "input", refuse)
    if not (world / "i").exists():
        for words in (
            f"encode {world}/c.tsv -m {world}/own/terms -o {world}/v",
            f"encode {world}/q.tsv --side query -m {world}/own/terms -o {world}/qv",
            f"index {world}/v -e exact -o {world}/i",
        ):
            status, _, err = command_line.run(capfd, *shlex.split(words))
            assert status == 0, err
    if not Path("i").exists():
        for name in ("i", "v", "qv"):
            Path(name).symlink_to(world / name)
    return tmp_path


def write_specs(model: str, more: str = "") -> None:
    """The files in which ``compare`` and ``beir`` name models."""
    Path("s.toml").write_text(SPEC + VARIANT.format(m=model) + more)
    Path("b.toml").write_text(BEIR.format(m=model) + more)
    rerank = "".join(f"{line}\n" for line in more.splitlines())
    Path("r.toml").write_text(
        f'{SPEC}[[variant]]\nname = "one"\ndocuments = "v"\nqueries = "qv"\n'
        f'[variant.rerank]\nmodel = "{model}"\n{rerank}'
    )


def cases(*, whole: bool = False) -> list[Any]:
    """Of those that are asked to their end only every third is quick."""
    return [
        pytest.param(
            asked,
            id=f"{asked.name} {asked.kind} {i}",
            marks=[pytest.mark.long] if asked.long or (whole and i % 3) else [],
        )
        for i, asked in enumerate(ASKED)
        if asked.to_its_end or not whole
    ]


def ask(capfd: pytest.CaptureFixture[str], asked: Asked, model: str, *more: str) -> tuple[int, str]:
    for module in asked.imports:
        pytest.importorskip(module)
    words = shlex.split(asked.words.format(m=model))
    status, out, err = command_line.run(capfd, *words, *more)
    assert "Traceback" not in err
    return status, out + err


def own_code(here: Path, world: Path, kind: str) -> Path:
    """The model ``m`` has code of its own, which makes the file that is given back."""
    shutil.copytree(world / "own" / kind, here / "m")
    with_own_code(here / "m", here / "ran", *AUTO[kind])
    write_specs("m")
    return here / "ran"


@pytest.mark.parametrize("asked", cases())
def test_code_of_its_own_runs_only_where_it_may(
    here: Path, world: Path, capfd: pytest.CaptureFixture[str], asked: Asked
) -> None:
    mark = own_code(here, world, asked.kind)
    status, said = ask(capfd, asked, "m")
    assert (status, mark.exists()) == (4, False), said
    assert "needs code of its own" in said
    assert "runs only with --trust-remote-code" in said


@pytest.mark.parametrize("asked", cases(whole=True))
def test_code_of_its_own_runs_where_it_may(
    here: Path, world: Path, capfd: pytest.CaptureFixture[str], asked: Asked
) -> None:
    mark = own_code(here, world, asked.kind)
    status, said = ask(capfd, asked, "m", "--trust-remote-code")
    assert mark.exists(), said
    assert status == 0, said


@pytest.mark.parametrize("asked", cases(whole=True))
def test_a_revision_is_another_model(
    here: Path, capfd: pytest.CaptureFixture[str], asked: Asked
) -> None:
    """The tag is found, and another one is refused by its name."""
    model = f"someone/{asked.kind}"
    for revision, wanted in (("v9", 4), ("v2", 0)):
        flags = ["--revision", revision]
        if asked.name in ("compare", "train recipe") or "toml" in asked.words:
            flags = []
            write_specs(model, f'revision = "{revision}"\n')
            if asked.name == "train recipe":
                flags = ["--set", f"model.revision={revision}"]
        status, said = ask(capfd, asked, model, *flags)
        assert status == wanted, said
        if wanted:
            assert "not at revision v9 in the cache of the Hugging Face hub" in said
            assert not (here / "out").exists() or not any((here / "out").rglob("*.trec*"))


# Prompts, modes and lengths of each side


BOTH = ["--query-prompt", "his ", "--document-prompt", "of "]
PROMPTED = [
    ("rerank sparse", "rerank r -m {m} --scorer sparse --corpus {c} -q {q} -o {o}", "terms"),
    ("rerank dense", "rerank r -m {m} --scorer dense --corpus {c} -q {q} -o {o}", "dense"),
    ("train score sparse", "train score --pairs {p} -m {m} --teacher sparse -o {o}", "terms"),
    ("train score dense", "train score --pairs {p} -m {m} --teacher dense -o {o}", "dense"),
    ("train mine", "train mine --queries {q} --qrels qrels --corpus {c} -m {m} -o {o}", "terms"),
    ("beir", "beir {s} -m {m} -o {o}", "terms"),
]


def told_of(place: Path) -> Any:
    """What a command wrote: scores by document, whatever the texts are called there."""
    if place.is_dir():
        [run] = place.glob("work/run/*/run.trec.zst")
        from splade_bridge.retrieval.runs import read_run

        return read_run(run)
    if place.suffix == ".jsonl":
        lines = [json.loads(line) for line in place.read_text().splitlines()]
        held = [line.get("scores") or line["negatives"] for line in lines]
        return [list(scores.values()) if isinstance(scores, dict) else scores for scores in held]
    return place.read_text()


def prefixed(here: Path) -> dict[str, str]:
    """The same texts with the prompts written in front of them."""
    for name, prompt in (("c", "of "), ("q", "his ")):
        lines = (here / f"{name}.tsv").read_text().replace("\t", f"\t{prompt}")
        (here / f"{name}2.tsv").write_text(lines)
    pairs = [json.loads(line) for line in (here / "p.jsonl").read_text().splitlines()]
    for pair in pairs:
        pair["query"] = f"his {pair['query']}"
        pair["positive"] = f"of {pair['positive']}"
        pair["negatives"] = [f"of {text}" for text in pair["negatives"]]
    (here / "p2.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    shutil.copytree(here / "set", here / "set2")
    for name, prompt in (("corpus", "of "), ("queries", "his ")):
        file = here / "set2" / f"{name}.jsonl"
        file.write_text(file.read_text().replace('"text": "', f'"text": "{prompt}'))
    return {"c": "c2.tsv", "q": "q2.tsv", "p": "p2.jsonl", "s": "set2"}


@pytest.mark.parametrize(("words", "kind"), [p[1:] for p in PROMPTED], ids=[p[0] for p in PROMPTED])
def test_a_prompt_is_put_in_front_of_the_texts_of_its_side(
    here: Path, world: Path, capfd: pytest.CaptureFixture[str], words: str, kind: str
) -> None:
    written = prefixed(here)
    plain = {"c": "c.tsv", "q": "q.tsv", "p": "p.jsonl", "s": "set"}
    end = ".jsonl" if "train" in words else ""
    found = {}
    for name, texts, flags in (("a", plain, BOTH), ("b", written, []), ("z", plain, [])):
        out = f"{name}{end}"
        line = words.format(m=world / "own" / kind, o=out, **texts)
        status, _, err = command_line.run(capfd, *shlex.split(line), *flags)
        assert status == 0, err
        found[name] = told_of(Path(out))
    assert found["a"] == found["b"] != found["z"]


def test_dense_puts_its_prompt_in_front(
    here: Path, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    prefixed(here)
    for name, texts, flags in (
        ("a", "c.tsv", ["--prompt", "of "]), ("b", "c2.tsv", []), ("z", "c.tsv", []),
    ):  # fmt: skip
        for line, more in (
            (f"dense {texts} -m {world}/own/dense -o {name}", flags),
            (f"search {name} -q q.tsv -m {world}/own/dense -o {name}.run", []),
        ):
            status, _, err = command_line.run(capfd, *shlex.split(line), *more)
            assert status == 0, err
    runs = [Path(f"{name}.run").read_text() for name in ("a", "b", "z")]
    assert runs[0] == runs[1] != runs[2]
    told = [json.loads(manifest_file(Path(name)).read_text())["encoding"] for name in ("a", "b")]
    assert [encoding["prompt"] for encoding in told] == ["of ", ""]
    line = f"dense c.tsv -m {world}/own/dense -o a --prompt x"
    status, _, err = command_line.run(capfd, *shlex.split(line))
    assert (status, "prompt" in err) == (2, True), err


def test_the_encoder_of_pyterrier_is_read_as_it_is_told(world: Path) -> None:
    pytest.importorskip("pyterrier")
    import pandas as pd

    from splade_bridge.library.pyterrier import SparseEncoder

    model = world / "own" / "terms"
    queries = pd.DataFrame({"qid": ["q1"], "query": ["the cat"]})
    prompted = queries.assign(query="his the cat")
    made = SparseEncoder(model, prompt="his ", normalize=True)(queries)["query_toks"][0]
    wanted = SparseEncoder(model)(prompted)["query_toks"][0]
    length = sum(weight**2 for weight in wanted.values()) ** 0.5
    assert made == pytest.approx({term: w / length for term, w in wanted.items()}, abs=1e-6)
    bow = SparseEncoder(model, query_mode="bow")(queries)["query_toks"][0]
    assert set(bow.values()) == {1.0}
    summed = SparseEncoder(model, pooling="sum")(queries)["query_toks"][0]
    assert sum(summed.values()) > sum(SparseEncoder(model)(queries)["query_toks"][0].values())


def test_a_reranker_of_terms_takes_modes_and_lengths(
    here: Path, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = f"rerank r -m {world}/own/terms --scorer sparse --corpus c.tsv -q q.tsv"
    found = {}
    for name, flags in (
        ("plain", []), ("unit", ["--normalize"]), ("bow", ["--query-mode", "bow"]),
    ):  # fmt: skip
        status, _, err = command_line.run(capfd, *shlex.split(line), "-o", name, *flags)
        assert status == 0, err
        rows = [row.split() for row in Path(name).read_text().splitlines()]
        found[name] = {row[2]: float(row[4]) for row in rows}
    model = world / "own" / "terms"
    documents = dict(sb.encode(here / "c.tsv", model=model))
    query = dict(sb.encode({"q1": "the cat"}, model=model, side="query"))["q1"]

    def dot(one: dict[str, float], other: dict[str, float]) -> float:
        return sum(weight * other.get(term, 0.0) for term, weight in one.items())

    for doc_id in found["plain"]:
        vector = documents[doc_id]
        assert found["plain"][doc_id] == pytest.approx(dot(query, vector), rel=1e-5)
        unit = dot(query, vector) / (dot(query, query) * dot(vector, vector)) ** 0.5
        assert found["unit"][doc_id] == pytest.approx(unit, rel=1e-5)
        tokens = {"the": 1.0, "c": 1.0, "##a": 1.0, "##t": 1.0}
        assert found["bow"][doc_id] == pytest.approx(dot(tokens, vector), rel=1e-5)
