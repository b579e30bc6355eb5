"""Real SPLADE-v3 vectors: every route and engine gives Anserini's runs and figures.

The figures are those of ../shared/data/README.md, by Anserini 1.7.1 and an independent scorer.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.registry import EXACT, engine, open_index
from splade_bridge.errors import MissingToolError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.evaluation.verify import verify
from splade_bridge.formats.choices import ConvertFormat
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import SearchOptions, search_to_run

pytestmark = pytest.mark.shared

FIGURES = {
    "splade-v3": (0.3624, 0.2965, 0.6172, 0.1874, 0.5753),
    "splade-pp-ed": (0.3598, 0.2954, 0.6089, 0.1843, 0.5762),
    "splade_distil_cocodenser_medium": (0.3559, 0.2957, 0.6042, 0.1805, 0.5721),
    "unicoil-noexp": (0.3450, 0.2797, 0.4825, 0.1721, 0.5644),
}
MEASURES = ("ndcg_cut_10", "recall_100", "recall_1000", "map", "recip_rank")


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "splade-v3-nfcorpus"


class Indexes(dict[str, Path]):
    """One index for each engine, built when it is asked for, from another form of the vectors."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder = data, folder

    def __missing__(self, name: str) -> Path:
        source = "docs.osirrc.ciff.gz" if name == "lucene" else "docs.jsonl.gz"
        try:
            manifest = engine(name).build(open_source(self.data / source), self.folder / name)
        except MissingToolError as error:
            pytest.skip(str(error))
        assert manifest.counts.documents == 3633
        assert manifest.counts.postings == 998_259
        return self.setdefault(name, self.folder / name)


@pytest.fixture(scope="session")
def indexes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Indexes:
    return Indexes(data, tmp_path_factory.mktemp("nfcorpus"))


@pytest.fixture(scope="session")
def anserini_runs(data: Path) -> dict[str, dict[str, list[tuple[str, int]]]]:
    """Anserini's own runs; tied scores come perturbed by 1e-6 and are rounded back."""
    runs: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for name in FIGURES:
        run = runs[name] = {}
        with gzip.open(data / "expected" / f"run.{name}.txt.gz", "rt") as lines:
            for line in lines:
                query_id, _, doc_id, _, score, _ = line.split()
                run.setdefault(query_id, []).append((doc_id, round(float(score))))
    return runs


@pytest.mark.sample(1)
@pytest.mark.parametrize("queries", FIGURES)
@pytest.mark.parametrize("name", EXACT)
def test_runs_and_figures_are_anserinis(
    name: str,
    queries: str,
    data: Path,
    indexes: Indexes,
    anserini_runs: dict[str, dict[str, list[tuple[str, int]]]],
    tmp_path: Path,
) -> None:
    index = indexes[name]
    loaded = read_queries(data / f"topics.nfcorpus.test.{queries}.tsv.gz")
    run_file = tmp_path / "run"
    options = SearchOptions(k=1000, remove_query=True)
    summary = search_to_run(index, loaded, run_file, options)
    run = read_run(run_file)
    expected = anserini_runs[queries]
    assert summary.queries == 323
    assert set(summary.without_results) == {q for q in loaded.batch.ids if q not in expected}
    assert {q: list(found.items()) for q, found in run.items()} == expected
    # The published figures leave out a query without results; three sets have none of those.
    found = evaluate(read_qrels(data / "qrels.nfcorpus.test.trec"), run, MEASURES, missing="skip")
    assert tuple(round(found.means[m], 4) for m in MEASURES) == FIGURES[queries]


@pytest.mark.long
def test_all_indexes_agree(data: Path, indexes: Indexes) -> None:
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    for name in EXACT:
        with contextlib.suppress(pytest.skip.Exception):
            assert indexes[name]
    assert len(indexes) > 1
    searchers = [open_index(path) for path in indexes.values()]
    try:
        result = verify(searchers, queries, 1000)
    finally:
        for searcher in searchers:
            searcher.close()
    assert result.equal and result.queries == 323 and result.results > 300_000


def test_an_index_that_anserini_made_is_searched_as_it_is(
    data: Path, indexes: Indexes, lucene: None
) -> None:
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    with open_index(data / "index.lucene-9.9.1") as theirs, open_index(indexes["exact"]) as ours:
        assert verify([ours, theirs], queries, 100).equal


@pytest.fixture(scope="session")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    export(
        lambda: open_source(data / "docs.jsonl.gz"),
        out,
        # One part: Anserini reads several in no certain order.
        ExportOptions(formats=("jsonvector", "ciff"), docs_per_file=5000),
    )
    return out


@pytest.mark.long
def test_anserini_indexes_our_export_to_the_same_postings(
    data: Path, exported: Path, indexes: Indexes, anserini: Path, tmp_path: Path
) -> None:
    """Anserini's IndexCollection on our JsonVectorCollection, against our own Lucene index."""
    source = open_source(exported / "jsonvector")
    engine("lucene", LuceneOptions(route="anserini")).build(source, tmp_path / "anserini")
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    with open_index(tmp_path / "anserini") as theirs, open_index(indexes["lucene"]) as ours:
        assert verify([ours, theirs], queries, 1000).equal
    engine("lucene").build(open_source(exported / "jsonvector"), tmp_path / "ours")
    # Postings, term dictionary, norms and doc values; 16 bytes of segment id and the checksum
    # at the end are random.
    for suffix in ("Lucene99_0.doc", "Lucene99_0.tim", "Lucene90_0.dvd", "nvd"):
        (ours_file,) = (tmp_path / "ours").glob(f"*{suffix}")
        (theirs_file,) = (tmp_path / "anserini").glob(f"*{suffix}")
        a, b = ours_file.read_bytes(), theirs_file.read_bytes()
        assert len(a) == len(b)
        assert sum(x != y for x, y in zip(a, b, strict=True)) <= 20, suffix


@pytest.mark.long
def test_the_exported_ciff_holds_the_same(data: Path, exported: Path) -> None:
    ours, theirs = (open_source(p) for p in (exported / "index.ciff", data / "docs.osirrc.ciff.gz"))
    for a, b in zip(ours.batches(), theirs.batches(), strict=True):
        assert a.ids == b.ids
        assert (a.indptr == b.indptr).all() and (a.impacts == b.impacts).all()
    assert ours.counts == theirs.counts
    assert ours.vocabulary.terms == theirs.vocabulary.terms


CONTENT = "89e7d4bc93476379121f5a726db20aae"
"""The content hash of the documents, in whatever file they are."""

CONVERTED = [
    to if to == "npz" else pytest.param(to, marks=pytest.mark.long)
    for to in get_args(ConvertFormat)
]


@pytest.mark.parametrize("to", CONVERTED)
def test_what_is_converted_is_found_as_before_byte_for_byte(
    to: ConvertFormat, data: Path, indexes: Indexes, tmp_path: Path
) -> None:
    """Each format, made of the CIFF, and back; an index of it gives the same run."""
    made = convert(data / "docs.osirrc.ciff.gz", tmp_path / "out", to)
    assert made.manifest.content == CONTENT
    engine("exact").build(open_source(tmp_path / "out"), tmp_path / "index")
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    runs = []
    for index in (indexes["exact"], tmp_path / "index"):
        run = tmp_path / f"{len(runs)}.run"
        search_to_run(index, queries, run, SearchOptions(k=1000))
        runs.append(run.read_bytes())
    assert runs[0] == runs[1] and runs[0].count(b"\n") > 300_000
    back = convert(tmp_path / "out", tmp_path / "back", "npz" if to == "ciff" else "ciff")
    assert back.manifest.content == CONTENT


PYSERINI = """
import sys
from splade_bridge.engines.pyserini import prepare
prepare()
from pyserini.search.lucene import LuceneImpactSearcher
from splade_bridge.formats.queries import read_queries
from pathlib import Path

class Encoder:
    def encode(self, vector): return vector

queries = read_queries(Path(sys.argv[2]))
searcher = LuceneImpactSearcher(sys.argv[1], Encoder(), min_idf=-1)
for i, query_id in enumerate(queries.batch.ids):
    terms, weights = queries.batch.row(i)
    vector = {queries.vocabulary[int(t)]: int(w) for t, w in zip(terms, weights)}
    for rank, hit in enumerate(searcher.search(vector, k=1000), start=1):
        print(query_id, "Q0", hit.docid, rank, round(hit.score), "pyserini")
"""


@pytest.mark.long
def test_pyserini_opens_our_index_and_finds_the_same(
    data: Path, indexes: Indexes, anserini: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jnius_config")
    topics = data / "topics.nfcorpus.test.splade-v3.tsv.gz"
    done = subprocess.run(
        [sys.executable, "-c", PYSERINI, str(indexes["lucene"]), str(topics)],
        capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (tmp_path / "theirs.run").write_text(done.stdout)
    search_to_run(indexes["lucene"], read_queries(topics), tmp_path / "ours.run", SearchOptions())
    theirs, ours = read_run(tmp_path / "theirs.run"), read_run(tmp_path / "ours.run")
    assert {q: list(v.items()) for q, v in theirs.items()} == {
        q: list(v.items()) for q, v in ours.items()
    }
