"""What ``inspect`` says of every kind of thing, against brute force and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import command_line
from bad_input import made
from bad_input.ciff import built
from small import MemorySource, random_matrix, terms_of
from splade_bridge.data.content import Content
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError, MissingToolError
from splade_bridge.formats.base import BatchSource
from splade_bridge.formats.pisa import write_collection
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.kinds import KINDS, inspect_path
from splade_bridge.inspection.tally import LONGEST, Histogram, Tally
from strategies import Collection, collections, impacts, quick, weights
from test_ciff import make as ciff_bytes
from test_foreign_lucene import Make, make  # noqa: F401


def faults(found: Inspection) -> dict[str, int]:
    return {fault.fault: fault.count for fault in found.faults}


def canonical(path: Path) -> None:
    write_collection(path, made.source(), 1 << 20)


def json_lines(path: Path) -> None:
    path.write_text(made.JSON_LINES)


SAME: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "docs.jsonl": (json_lines, "jsonvector", ""),
    "docs.ciff": (made.ciff, "ciff", ""),
    "exact": (made.exact, "index", "exact"),
    "lucene": (made.lucene, "index", "lucene"),
    "pisa": (made.pisa, "index", "pisa"),
    "export": (made.forward, "export", ""),
    "canonical": (canonical, "pisa-canonical", ""),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_documents_have_the_same_figures_and_content(name: str, tmp_path: Path) -> None:
    build, kind, of = SAME[name]
    if of:
        try:
            engine(of).check_installed()
        except MissingToolError as error:
            pytest.skip(str(error))
    build(tmp_path / name)
    found = inspect_path(tmp_path / name)
    assert (found.kind, found.engine or "") == (kind, of)
    assert found.ours == (kind in ("index", "export"))
    source = made.source()
    batches = list(source.batches())
    counts = found.counts
    assert counts is not None and counts == source.counts
    assert found.content is not None and found.content.computed == str(source.content)
    assert found.content.equal is (True if found.ours else None)
    assert found.distinct_terms == 4
    lengths = np.concatenate([batch.lengths for batch in batches])
    assert found.lengths is not None and found.values is not None
    assert (found.lengths.least, found.lengths.most) == (lengths.min(), lengths.max())
    assert (found.values.least, found.values.p50, found.values.most) == (1, 7, 300)
    assert found.values.exact and found.values.mean == pytest.approx(568 / 7)
    assert [(x.term, x.documents, x.sum, x.most) for x in found.longest] == [
        ("alpha", 2, 252, 240), ("beta", 2, 12, 7), ("delta", 2, 301, 300), ("gamma", 1, 3, 3),
    ]  # fmt: skip
    assert found.faults == []


def test_a_store_says_its_weights_and_its_model(tmp_path: Path) -> None:
    made.vectors(tmp_path / "v")
    found = inspect_path(tmp_path / "v")
    assert (found.kind, found.numbers, found.ours) == ("vectors", "weights", True)
    assert found.content is not None and found.content.equal is True
    assert found.scale is not None and found.scale.scale is None
    quickly = inspect_path(tmp_path / "v", InspectOptions(quick=True))
    assert quickly.counts == found.counts and quickly.values is None
    assert quickly.content is not None and quickly.content.computed is None
    assert any("--quick" in unknown for unknown in quickly.unknown)


def test_content_that_is_not_what_the_manifest_says_is_a_fault(tmp_path: Path) -> None:
    made.exact(tmp_path / "i")
    manifest = tmp_path / "i" / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(told | {"content": "0" * 32}))
    found = inspect_path(tmp_path / "i")
    assert found.content is not None and found.content.equal is False
    assert "content that is not what the manifest says" in faults(found)


@quick
@given(made=collections(st.one_of(impacts, st.just(1))), size=st.integers(1, 4))
def test_rows_and_lists_count_as_brute_force_does(made: Collection, size: int) -> None:
    by_rows = Tally(made.vocabulary)
    source = BatchSource(Path("x"), made.impact_batches(size), made.vocabulary)
    for batch in source.batches():
        by_rows.add(batch)
    by_lists = Tally(made.vocabulary)
    from splade_bridge.data.content import ID, hashed

    by_lists.begin_lists(len(made.ids), hashed(made.ids, ID), made.ids)
    for term in range(len(made.vocabulary)):
        name = made.vocabulary[term]
        docs = [n for n, row in enumerate(made.rows) if name in row]
        values = [int(made.rows[n][name]) for n in docs]
        by_lists.add_list(term, np.array(docs, np.int32), np.array(values, np.int32))
    by_lists.end_lists([i for i, row in zip(made.ids, made.rows, strict=True) if not row])
    found = []
    for tally in (by_rows, by_lists):
        report = Inspection("x", "x", "", "", ours=False, bytes=0)
        tally.report(report, None)
        found.append((report.counts, report.values, report.lengths, report.longest, report.content))
    assert found[0] == found[1]
    assert found[0][4] is not None and found[0][4].computed == str(source.content)
    expected = sorted(
        (-sum(t in row for row in made.rows), t)
        for t in made.vocabulary.terms
        if any(t in row for row in made.rows)
    )
    assert [(-x.documents, x.term) for x in found[0][3]] == expected[:LONGEST]


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=60))
def test_quantiles_are_those_of_the_numbers(numbers: list[int]) -> None:
    histogram = Histogram()
    for part in np.array_split(np.array(numbers, np.int32), 3):
        histogram.add(part)
    found = histogram.distribution()
    assert found is not None
    assert found.exact == (max(numbers) < 1 << 16)
    for name, share in (("p25", 0.25), ("p50", 0.5), ("p95", 0.95)):
        right = sorted(numbers)[max(0, int(np.ceil(share * len(numbers))) - 1)]
        assert right * (1 - 1 / 2048) <= getattr(found, name) <= right
    assert (found.least, found.most) == (min(numbers), max(numbers))


@given(st.lists(weights, min_size=1, max_size=60))
def test_quantiles_of_weights_are_nearly_so(numbers: list[float]) -> None:
    histogram = Histogram()
    histogram.add(np.array(numbers, np.float32))
    found = histogram.distribution()
    assert found is not None and not found.exact
    right = sorted(numbers)[max(0, int(np.ceil(0.5 * len(numbers))) - 1)]
    assert right * (1 - 1 / 2048) <= found.p50 <= right


def write(path: Path, vectors: dict[str, dict[str, Any]], **more: str) -> Path:
    lines = [{"id": i, "contents": more.get(i, ""), "vector": v} for i, v in vectors.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("scale", [51.2, 100, 1000, 128])
def test_the_scale_of_weights_that_were_quantized_is_seen(scale: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(1, round(3.5 * scale), 400) / scale
    vectors = {f"d{i}": {"a": float(np.float32(v))} for i, v in enumerate(values)}
    found = inspect_path(write(tmp_path / "w.jsonl", vectors))
    assert found.numbers == "weights"
    assert found.scale is not None and found.scale.origin == "guess"
    assert found.scale.scale == scale
    assert "100.00% of the weights" in found.scale.reason


@pytest.mark.parametrize(
    ("largest", "scale"), [(179, 100), (350, 100), (255, 51.2), (3500, 1000), (9, None)]
)
def test_the_scale_of_impacts_is_guessed_from_the_largest(
    largest: int, scale: float | None, tmp_path: Path
) -> None:
    vectors = {f"d{i}": {"a": i + 1} for i in range(largest)}
    found = inspect_path(write(tmp_path / "w.jsonl", vectors))
    assert found.scale is not None and found.scale.scale == scale
    assert f"the largest impact is {largest:,}" in found.scale.reason


def test_weights_of_a_model_have_no_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    vectors = {f"d{i}": {"a": float(v)} for i, v in enumerate(rng.gamma(2, 0.5, 500) + 0.01)}
    found = inspect_path(write(tmp_path / "w.jsonl", vectors))
    assert found.scale is not None and found.scale.origin == "unknown"
    assert faults(found) == {"numbers that are no integers": 500}


def test_every_fault_of_json_is_counted_with_its_first_places(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text(
        '{"id": "a", "vector": {"x": 3, "two words": 2, "z": 0}}\n'
        '{"id": "a", "vector": {"x": 5}}\n'
        "not JSON\n"
        '{"id": "b", "vector": {"x": -1, "y": "3", "": 4}}\n'
        '{"id": "c d", "vector": {"x": 2.0}}\n'
        '{"vector": {"x": 2}}\n'
        '{"id": "e", "vector": {"y": 1, "y": 2}}\n'
        '{"id": "f", "vector": {"y": 3000000000}}\n'
        '{"id": "g"}\n'
    )
    found = inspect_path(path)
    assert faults(found) == {
        "ids that were there before": 1,
        "broken records": 4,
        "weights of 0": 1,
        "weights below 0": 1,
        "weights that are no numbers": 1,
        "terms that are none": 1,
        "ids that a run cannot hold": 1,
        "whole numbers written as floats": 1,
        "weights beyond 2^31 - 1": 1,
        "documents without a term": 2,
        "terms with white space": 1,
    }
    (broken,) = (f for f in found.faults if f.fault == "broken records")
    assert [place.split(f"{path}:")[1][0] for place in broken.places] == ["3", "6", "7", "9"]
    assert found.counts is not None and found.counts.documents == 5
    assert found.counts.impact_sum == 3 + 2 + 5 + 2
    assert "content: of the sound records only" in found.unknown


FAULTY_CIFF: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "terms out of order": (
        {"lists": (("b", ((0, 3),)), ("a", ((1, 2),))), "total_terms_in_collection": 5}, {},
    ),
    "a term twice": ({"lists": (("a", ((0, 3),)), ("a", ((1, 2),)))}, {"terms with two lists": 1}),
    "no docids": (
        {"lists": (("a", ((0, 3), (7, 2), (1, 1))),)},
        {"postings of documents that are not there": 2},
    ),
    "impacts": ({"lists": (("a", ((0, 0), (1, -2))),)}, {"impacts of 0 or below": 2}),
    "gaps of 0": ({"lists": (("a", ((0, 1), (0, 2))),)}, {"lists whose docids do not rise": 1}),
    "ids": ({"ids": ("d", "d")}, {"ids that were there before": 1}),
    "totals": ({"total_docs": 1}, {"header totals that cannot be": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY_CIFF)
def test_faults_of_ciff_are_counted_and_not_refused(name: str, tmp_path: Path) -> None:
    made_with, expected = FAULTY_CIFF[name]
    (tmp_path / "a.ciff").write_bytes(built(**made_with))
    found = faults(inspect_path(tmp_path / "a.ciff"))
    assert expected.items() <= found.items()
    others = {"documents without a term", "docids that may be absolute"}
    sums = {"header totals that cannot be"}
    assert found.keys() - expected.keys() <= others | sums


def test_a_ciff_file_that_is_cut_tells_its_header_and_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "a.ciff").write_bytes(built()[:-3])
    found = inspect_path(tmp_path / "a.ciff")
    assert found.facts["header"]["num_docs"] == 2
    (fault,) = found.faults
    assert "document record 2 of 2" in fault.places[0]
    assert found.content is None


def test_absolute_docids_are_told_and_can_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ids = [f"d{i}" for i in range(9)]
    rows = {f"t{n}": [(i, n + i + 1) for i in range(n, 9)] for n in range(5)}
    gaps = {t: [(d - p[i - 1][0] if i else d, v) for i, (d, v) in enumerate(p)]
            for t, p in rows.items()}  # fmt: skip
    early, good = tmp_path / "early.ciff", tmp_path / "good.ciff"
    early.write_bytes(ciff_bytes(rows, ids))
    good.write_bytes(ciff_bytes(gaps, ids))
    found = inspect_path(early)
    (told,) = (f for f in found.faults if f.fault == "docids that may be absolute")
    assert "--ciff-docids absolute" in told.remedy and "5 lists" in told.places[0]
    assert "docids that may be absolute" not in faults(inspect_path(good))
    as_docids = inspect_path(early, InspectOptions(ciff_docids="absolute"))
    assert as_docids.content == inspect_path(good).content
    assert as_docids.faults == []
    for source, flags in ((good, []), (early, ["--ciff-docids", "absolute"])):
        out = tmp_path / source.stem
        assert command_line.run(capfd, "index", source, "-e", "exact", "-o", out, *flags)[0] == 0
        assert inspect_path(out).content.computed == as_docids.content.computed  # type: ignore[union-attr]
        step = ["--method", "top-k", "--value", "99"]
        for command in (["export", source], ["prune", source, *step]):
            to = tmp_path / f"{source.stem}-{command[0]}"
            assert command_line.run(capfd, *command, "-o", to, *flags)[0] == 0
            assert inspect_path(to).content.computed == as_docids.content.computed  # type: ignore[union-attr]


def test_expansion_terms_are_those_that_the_text_lacks(tmp_path: Path) -> None:
    vectors = {
        "d1": {"cat": 4, "##s": 1, "sat": 2, "animal": 3},
        "d2": {"cat": 1, "mat": 5, "carpet": 4},
        "d3": {},
    }
    texts = {"d1": "Cats sat!", "d2": "the mat; cat", "d3": "cat"}
    found = inspect_path(write(tmp_path / "v.jsonl", vectors, **texts))
    assert found.expansion is not None
    assert found.expansion.documents == 3
    assert found.expansion.postings == pytest.approx(2 / 7)
    assert found.expansion.values == pytest.approx(7 / 20)
    assert found.expansion.spelled == pytest.approx(5 / 6)  # not "the"
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in texts.items()))
    bare = write(tmp_path / "bare.jsonl", vectors)
    assert inspect_path(bare, InspectOptions(str(corpus))).expansion == found.expansion
    assert any("--corpus" in unknown for unknown in inspect_path(bare).unknown)
    engine("exact").build(_source(vectors), tmp_path / "i")
    assert inspect_path(tmp_path / "i", InspectOptions(str(corpus))).expansion == found.expansion


def _source(vectors: dict[str, dict[str, int]]) -> MemorySource:
    terms = sorted({t for row in vectors.values() for t in row})
    matrix = np.array([[row.get(t, 0) for t in terms] for row in vectors.values()])
    return MemorySource(matrix, list(vectors), terms)


def test_stems_are_not_taken_for_expansion(tmp_path: Path) -> None:
    vectors = {"d1": {"anim": 3, "happi": 2}}
    found = inspect_path(write(tmp_path / "v.jsonl", vectors, d1="animals are happily here"))
    assert found.expansion is None
    assert any("another analysis" in unknown for unknown in found.unknown)


QRELS = "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n"
RUN = "q1 Q0 d1 1 9.5 t\nq1 Q0 d2 2 9.5 t\nq2 Q0 d1 1 3 t\n"
LINES: dict[str, tuple[str, str, dict[str, Any], dict[str, int]]] = {
    "qrels": (QRELS, "qrels", {"queries": 2, "judgements": 3, "layout": "query 0 doc grade"}, {}),
    "a cut line": (
        QRELS * 9 + "q3 0 d1", "qrels", {"queries": 2},
        {"lines of another layout": 1, "judgements that are there twice": 24},
    ),
    "two grades": (QRELS + "q1 0 d1 0\n", "qrels", {}, {"documents with two grades": 1}),
    "BEIR": (
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\n", "qrels",
        {"header": True, "layout": "query doc grade", "grades": {"1": 1, "2": 1}}, {},
    ),
    "JSON judgements": ('{"q1": {"d1": 1}, "q2": {"d2": 0}}', "qrels", {"judgements": 2}, {}),
    "a run": (
        RUN, "run",
        {"queries": 2, "results": 3, "tied_with_the_one_before": 1, "integer_scores": False,
         "tags": {"t": 3}},
        {},
    ),
    "a run with a document twice": (
        RUN + "q2 Q0 d1 2 1 t\n", "run", {}, {"documents twice for a query": 1},
    ),
    "comments": ("# a run\n" + RUN, "run", {"results": 3}, {}),
    "MS MARCO": ("q1\td1\t1\nq1\td2\t2\nq2\td9\t1\n", "run", {"layout": "qid docid rank"}, {}),
    "a JSON run": ('{"q1": {"d1": 1.5, "d2": 212}}', "run", {"results": 2}, {}),
    "topics": ("q1\ta a b\nq2\tb b\n", "topics", {}, {}),
    "text queries": ("q1\tthe cat\nq2\ta mat\n", "texts", {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_lines_are_told_apart_and_their_faults_counted(name: str, tmp_path: Path) -> None:
    content, kind, facts, expected = LINES[name]
    path = tmp_path / "lines.txt"
    path.write_text(content)
    found = inspect_path(path)
    assert found.kind == kind, found.reason
    assert facts.items() <= found.facts.items()
    assert faults(found) == expected


def test_topics_are_counted_as_vectors(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text(
        "q1\ta a b\nq2\tb b\nno tab\nq1\tc c\n" + "".join(f"p{i}\tc c\n" for i in range(9))
    )
    found = inspect_path(tmp_path / "q.tsv")
    assert found.counts is not None and found.counts.impact_sum == 7 + 18
    assert faults(found) == {
        "lines that are not id<TAB>tokens": 1, "ids that were there before": 1,
    }  # fmt: skip


def test_texts_and_their_faults(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id":"a","text":"one two"}\n{"id":"b","text":""}\n{"id":"a","text":"x"}\n')
    found = inspect_path(path)
    assert (found.kind, found.facts["content"]["texts"]) == ("texts", 2)
    assert faults(found) == {"what ended reading": 1, "texts that are empty": 1}


def test_what_is_not_finished_is_told_with_what_is_there(tmp_path: Path) -> None:
    made.vectors(tmp_path / "v")
    (tmp_path / "v" / "_manifest.json").unlink()
    found = inspect_path(tmp_path / "v")
    assert (found.kind, found.ours) == ("unfinished", True)
    assert found.counts is not None and found.counts.documents == 3
    assert faults(found) == {"not finished": 1}


def test_a_checkpoint_is_told_by_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertForMaskedLM"], "vocab_size": 9}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    found = inspect_path(tmp_path)
    assert (found.kind, found.facts["vocab_size"], found.facts["masked_lm"]) == (
        "checkpoint", 9, True,
    )  # fmt: skip
    assert faults(found) == {"no tokenizer": 1}


def test_a_graph_of_onnx_is_told_by_its_inputs_and_outputs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    ids = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", 7])
    out = helper.make_tensor_value_info("logits", onnx.TensorProto.INT64, ["batch", 7])
    nodes = [helper.make_node("Identity", ["input_ids"], ["logits"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [ids], [out]))
    (tmp_path / "onnx").mkdir()
    onnx.save(model, str(tmp_path / "onnx" / "model.onnx"))
    for place in (tmp_path, tmp_path / "onnx" / "model.onnx"):
        found = inspect_path(place)
        assert (found.kind, found.facts["inputs"]) == ("onnx", ["input_ids [batch, 7]"])
        assert found.facts["by_export_model"] is False
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BadInputError, match="not a graph of ONNX"):
        inspect_path(tmp_path)


def test_a_damaged_artefact_of_ours_is_refused(tmp_path: Path) -> None:
    made.exact(tmp_path / "i")
    (tmp_path / "i" / "impacts.bin").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"impacts\.bin"):
        inspect_path(tmp_path / "i")


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_what_people_read_names_faults_and_what_is_unknown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "v.jsonl", {"a": {"x y": 1}, "b": {}})
    status, out, _ = command_line.run(capfd, "inspect", tmp_path / "v.jsonl")
    assert status == 0
    assert "kind            jsonvector: a JsonVectorCollection" in out
    assert "FAULT           1 terms with white space: 'x y'" in out
    assert "FAULT           1 documents without a term: 'b'" in out
    assert "unknown         expansion: no text is at hand" in out


# ---------------------------------------------------------------- Lucene


def test_segments_deletions_and_fields_of_a_lucene_index(make: Make, tmp_path: Path) -> None:  # noqa: F811
    index = make(
        tmp_path / "i",
        "add|d1|a=50,b=10", "add|d2|a=90", "add|d3|b=40", "commit", "delete|d2", "update|d1|a=20",
        "commit", "add|d4|a=50,b=60",
    )  # fmt: skip
    found = inspect_path(index)
    assert (found.kind, found.ours) == ("lucene", False)
    assert found.facts["segments"] >= 2
    assert found.facts["holds"] == "impacts"
    assert "contents" in found.facts["fields"]
    source = _source({"d1": {"a": 20}, "d3": {"b": 40}, "d4": {"a": 50, "b": 60}})
    list(source.batches())
    assert found.content is not None and found.content.computed == str(source.content)
    assert found.counts is not None and found.counts.documents == 3
    assert found.faults == []


def test_ids_of_a_lucene_index_that_no_run_can_hold_are_counted(make: Make, tmp_path: Path) -> None:  # noqa: F811
    index = make(tmp_path / "i", "add|d1|a=9", "commit", "add|d1|a=8", "add|x y|a=7", "none|n|a=6")
    found = faults(inspect_path(index))
    assert found["ids that were there before"] == 1
    assert found["documents without an id"] == 1
    assert found["ids that a run cannot hold"] == 2  # the one without, too


@pytest.mark.long
def test_anserinis_plain_text_is_no_impacts(anserini: Path, lucene: None, tmp_path: Path) -> None:
    from splade_bridge.text.corpora import Text
    from test_bm25 import anserinis_index

    words = ["The cat sat on the mat.", "A dog barked at the cat", "Nothing else here"]
    index = anserinis_index([Text(f"d{i}", t, "") for i, t in enumerate(words)], tmp_path)
    found = inspect_path(index)
    assert (found.kind, found.numbers) == ("lucene", "frequencies")
    assert found.facts["holds"] == "plain text"
    assert found.counts is not None and found.counts.documents == 3
    assert found.scale is not None and found.scale.scale is None


# ---------------------------------------------------------------- real data


@pytest.mark.long
@pytest.mark.shared
def test_one_content_for_all_forms_of_nfcorpus(shared: Path, lucene: None) -> None:
    folder = shared / "splade-v3-nfcorpus"
    found = [
        inspect_path(folder / name, InspectOptions(str(shared / "nfcorpus")))
        for name in ("docs.jsonl.gz", "docs.osirrc.ciff.gz", "index.lucene-9.9.1")
    ]
    assert {f.content.computed for f in found if f.content} == {"89e7d4bc93476379121f5a726db20aae"}
    for each in found:
        assert each.counts is not None and each.counts.postings == 998_259
        assert each.scale is not None and (each.scale.scale, each.scale.origin) == (100, "guess")
        assert each.expansion is not None and 0.5 < each.expansion.postings < 0.7
        assert each.faults == []
    assert found[2].facts["lucene"] == "9.9.1" and found[2].facts["segments"] == 1


@pytest.mark.sample(1)
@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "kind", "facts"),
    [
        ("nfcorpus", "texts", {"qrels": ["dev.tsv", "test.tsv", "train.tsv"]}),
        ("nfcorpus/qrels/test.tsv", "qrels", {"judgements": 12_334, "header": True}),
        ("splade-v3-nfcorpus/qrels.nfcorpus.test.trec", "qrels", {"judgements": 12_334}),
        ("splade-v3-nfcorpus/expected/run.splade-v3.txt.gz", "run", {"results": 319_283}),
        ("splade-v3-nfcorpus/topics.nfcorpus.test.splade-v3.tsv.gz", "topics", {}),
        ("splade-v3-nfcorpus/topics.nfcorpus.test.unicoil-noexp.tsv.gz", "topics", {}),
        ("splade-queries/topics.dl20.splade-pp-ed.tsv.gz", "topics", {}),
        ("splade-queries/topics.msmarco-passage.dev-subset.txt", "texts", {}),
        ("fixtures/seismic-toy/documents.jsonl", "seismic", {"files": 1}),
        ("fixtures/anserini-json-vector/collection3_gz", "jsonvector", {}),
        ("fixtures/anserini-json-vector/dense_collection1", "dense", {"dimensions": 3}),
        ("fixtures/trec_eval-test/results.test", "run", {"queries": 3}),
        ("fixtures/trec_eval-test/qrels.comment.test", "qrels", {"queries": 31}),
        ("fixtures/toy-complete-20200309.ciff", "ciff", {"docids": "gaps"}),
    ],
)
def test_real_files_are_what_they_are(
    shared: Path, name: str, kind: str, facts: dict[str, Any]
) -> None:
    found = inspect_path(shared / name)
    assert found.kind == kind, found.reason
    assert facts.items() <= found.facts.items()


def test_odd_terms_and_many_documents(tmp_path: Path) -> None:
    """Batches, segments of ids and terms of every kind."""
    matrix = random_matrix(9, 60, 40, 0.3, 900)
    source = MemorySource(matrix, [f"d{i}" for i in range(60)], terms_of(40))
    engine("exact").build(source, tmp_path / "i")
    found = inspect_path(tmp_path / "i")
    assert found.counts == source.counts
    assert found.content is not None and found.content.equal is True


def test_weights_have_the_content_of_weights(tmp_path: Path) -> None:
    found = inspect_path(write(tmp_path / "v.jsonl", {"a": {"x": 0.5, "y": 3}}))
    content = Content(Vocabulary(["x", "y"]))
    batch = SparseBatch(["a"], row_pointers([2]), np.arange(2, dtype=np.int32),
                        np.array([0.5, 3], np.float32))  # fmt: skip
    content.add(batch)
    assert found.content is not None and found.content.computed == str(content)
