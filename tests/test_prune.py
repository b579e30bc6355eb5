"""Every pruning policy against a slow reference that reads like its definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small import MemorySource, queries_of, random_matrix, write_json_lines
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError, ExternalProgramError, MissingToolError, UsageError
from splade_bridge.formats import records as vector_records
from splade_bridge.formats.base import ImpactSource
from splade_bridge.pruning.methods import METHODS, policy
from splade_bridge.pruning.policy import Policy, PruneOptions
from splade_bridge.pruning.pruning import Pruning
from splade_bridge.pruning.rows import Unit
from splade_bridge.pruning.size import packed_bytes
from splade_bridge.pruning.source import PrunedSource, pruned_queries
from splade_bridge.pruning.terms import BUILT_IN
from strategies import Collection, as_dictionaries, collections, impacts, weights

quick = settings(max_examples=60, deadline=None)
Row = dict[str, float]
Reference = Callable[[list[Row], str], list[set[str]]]
"""Which terms of each row stay, for the value of a policy as a flag gives it."""

few_impacts = st.integers(1, 6)
few_weights = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.1, 2.5]).map(lambda w: float(np.float32(w)))
impact_rows = st.one_of(collections(few_impacts), collections(impacts), collections(st.just(7)))
weight_rows = st.one_of(collections(few_weights), collections(weights), collections(st.just(0.5)))


def ranked(row: Row) -> list[str]:
    """Heavier first, then by the bytes of the term."""
    return sorted(row, key=lambda term: (-row[term], term.encode()))


def lists_of(rows: list[Row]) -> dict[str, list[tuple[float, int]]]:
    """(value, row) of each term, in reading order."""
    lists: dict[str, list[tuple[float, int]]] = {}
    for number, row in enumerate(rows):
        for term, value in row.items():
            lists.setdefault(term, []).append((value, number))
    return lists


def top_k(rows: list[Row], value: str) -> list[set[str]]:
    return [set(ranked(row)[: int(value)]) for row in rows]


def threshold(rows: list[Row], value: str) -> list[set[str]]:
    least = float(np.float32(value)) if "." in value else int(value)
    return [{t for t in row if row[t] >= least} for row in rows]


def max_share(rows: list[Row], value: str) -> list[set[str]]:
    share = Fraction(value)
    return [
        {t for t in row if Fraction(row[t]) >= share * Fraction(max(row.values()))} for row in rows
    ]


def mass_share(rows: list[Row], value: str) -> list[set[str]]:
    found = []
    for row in rows:
        kept: set[str] = set()
        wanted = Fraction(value) * sum(map(Fraction, row.values()))
        for term in ranked(row):
            if sum(Fraction(row[t]) for t in kept) < wanted:
                kept.add(term)
        found.append(kept)
    return found


def term_quantile(rows: list[Row], value: str) -> list[set[str]]:
    least = {}
    for term, postings in lists_of(rows).items():
        values = sorted(v for v, _ in postings)
        least[term] = values[math.ceil(Fraction(value) * (len(values) - 1))]
    return [{t for t in row if row[t] >= least[t]} for row in rows]


def list_cap(rows: list[Row], value: str) -> list[set[str]]:
    found: list[set[str]] = [set() for _ in rows]
    for term, postings in lists_of(rows).items():
        heaviest = sorted(postings, key=lambda posting: (-posting[0], posting[1]))
        for _, number in heaviest[: int(value)]:
            found[number].add(term)
    return found


def drop_ab(rows: list[Row], value: str) -> list[set[str]]:
    return [{t for t in row if not BUILT_IN[value](t)} for row in rows]


def with_least(rows: list[Row], kept: list[set[str]], min_terms: int) -> list[set[str]]:
    """What stays when rows with fewer than ``min_terms`` get their heaviest back."""
    found = []
    for row, stay in zip(rows, kept, strict=True):
        lost = [t for t in ranked(row) if t not in stay]
        found.append(stay | set(lost[: max(0, min_terms - len(stay))]))
    return found


CASES: list[tuple[str, st.SearchStrategy[str], Reference]] = [
    ("top-k", st.integers(1, 6).map(str), top_k),
    ("max-share", st.sampled_from(["0.1", "0.25", "0.3", "0.5", "0.7", "1"]), max_share),
    ("mass-share", st.sampled_from(["0.07", "0.25", "0.5", "0.7", "0.9", "1"]), mass_share),
    ("term-quantile", st.sampled_from(["0.1", "0.25", "0.5", "0.75", "0.85", "1"]), term_quantile),
    ("list-cap", st.integers(1, 5).map(str), list_cap),
    ("drop-terms", st.sampled_from(sorted(BUILT_IN)), drop_ab),
]
cases = st.sampled_from(CASES).flatmap(
    lambda case: st.tuples(st.just(case[0]), case[1], st.just(case[2]))
)
impact_cases = st.one_of(
    cases, st.tuples(st.just("threshold"), st.integers(1, 8).map(str), st.just(threshold))
)
weight_cases = st.one_of(
    cases,
    st.tuples(st.just("threshold"), st.sampled_from(["0.5", "1.1", "2.0"]), st.just(threshold)),
)


def batches_of(collection: Collection, unit: Unit, size: int) -> list:
    if unit == "impact":
        return collection.impact_batches(size)
    return collection.sparse_batches(size)


def pruned(
    collection: Collection,
    policies: list[Policy],
    unit: Unit,
    size: int = 3,
    options: PruneOptions = PruneOptions(min_terms=0),
) -> tuple[list[Row], list[dict]]:
    """Rows after pruning, and the entries for the manifest."""

    def opened() -> tuple[Iterator[ImpactBatch | SparseBatch], Vocabulary]:
        return iter(batches_of(collection, unit, size)), collection.vocabulary

    pruning: Pruning = Pruning(opened, policies, unit, options)
    steps = pruning.steps()
    rows: list[Row] = []
    ids: list[str] = []
    for batch in pruning.run(*opened(), steps):
        values = batch.impacts if isinstance(batch, ImpactBatch) else batch.weights
        for i in range(len(batch)):
            part = slice(batch.indptr[i], batch.indptr[i + 1])
            terms = [collection.vocabulary[t] for t in batch.indices[part].tolist()]
            rows.append(dict(zip(terms, values[part].tolist(), strict=True)))
        ids += batch.ids
    assert ids == collection.ids
    return rows, [step.entry("document", unit) for step in steps]


def only(rows: list[Row], kept: list[set[str]]) -> list[Row]:
    return [{t: row[t] for t in row if t in stay} for row, stay in zip(rows, kept, strict=True)]


def check(
    collection: Collection, case: tuple[str, str, Reference], unit: Unit, size: int, least: int
) -> None:
    method, value, reference = case
    kept = reference(collection.rows, value)
    full = with_least(collection.rows, kept, least)
    got, (entry,) = pruned(
        collection, [policy(method, value)], unit, size, PruneOptions(min_terms=least)
    )
    assert got == only(collection.rows, full)
    postings = sum(map(len, full))
    assert entry["postings_before"] == sum(map(len, collection.rows))
    assert entry["postings_after"] == postings
    assert entry["postings_restored"] == postings - sum(map(len, kept))
    emptied = [row for row, stay in zip(collection.rows, full, strict=True) if row and not stay]
    assert entry["rows_emptied"] == len(emptied)
    assert (entry["method"], entry["unit"], entry["min_terms"]) == (method, unit, least)


@quick
@given(impact_rows, impact_cases, st.integers(1, 9), st.integers(0, 3))
def test_impacts_are_pruned_as_the_definition_says(collection, case, size, least) -> None:
    check(collection, case, "impact", size, least)


@quick
@given(weight_rows, weight_cases, st.integers(1, 9), st.integers(0, 3))
def test_weights_are_pruned_as_the_definition_says(collection, case, size, least) -> None:
    check(collection, case, "weight", size, least)


@quick
@given(impact_rows, impact_cases, impact_cases, st.integers(0, 2))
def test_steps_are_applied_in_order(collection, first, second, least) -> None:
    rows = collection.rows
    for _, value, reference in (first, second):
        rows = only(rows, with_least(rows, reference(rows, value), least))
    policies = [policy(method, value) for method, value, _ in (first, second)]
    got, entries = pruned(collection, policies, "impact", 3, PruneOptions(min_terms=least))
    assert got == rows
    assert entries[0]["postings_after"] == entries[1]["postings_before"]


@quick
@given(impact_rows, impact_cases, st.randoms())
def test_neither_the_order_of_documents_nor_the_ids_of_terms_decide(
    collection, case, random
) -> None:
    method, value, _ = case
    order = list(range(len(collection.ids)))
    if method != "list-cap":  # whose ties go by the order of documents
        random.shuffle(order)
    terms = list(collection.vocabulary.terms)
    random.shuffle(terms)
    shuffled = Collection(
        Vocabulary(terms),
        [collection.ids[i] for i in order],
        [collection.rows[i] for i in order],
    )
    one, _ = pruned(collection, [policy(method, value)], "impact")
    other, _ = pruned(shuffled, [policy(method, value)], "impact")
    assert [one[i] for i in order] == other


@quick
@given(impact_rows, st.integers(1, 40), st.integers(0, 2), st.booleans())
def test_postings_finds_the_least_threshold_that_fits(collection, target, least, as_share) -> None:
    value = f"{target}%" if as_share else str(target)
    check_postings(collection, value, "impact", least)


@quick
@given(weight_rows, st.integers(1, 40), st.integers(0, 2), st.booleans())
def test_postings_finds_it_among_weights_too(collection, target, least, as_share) -> None:
    value = f"{target}%" if as_share else str(target)
    check_postings(collection, value, "weight", least)


def check_postings(collection: Collection, value: str, unit: Unit, least: int) -> None:
    rows = collection.rows
    total = sum(map(len, rows))
    target = int(value) if "%" not in value else int(Fraction(value[:-1]) * total / 100)
    found = [policy("postings", value)]
    options = PruneOptions(min_terms=least)
    for bound in [*sorted({v for row in rows for v in row.values()}), math.inf]:
        stay = [{t for t in row if row[t] >= bound} for row in rows]
        full = with_least(rows, stay, least)
        if sum(map(len, full)) <= target:
            got, (entry,) = pruned(collection, found, unit, 3, options)
            assert got == only(rows, full)
            assert stay == [{t for t in row if row[t] >= entry["threshold"]} for row in rows]
            return
    with pytest.raises(UsageError, match="--min-terms"):
        pruned(collection, found, unit, 3, options)


def packed(rows: list[dict[str, int]]) -> int:
    """Bytes by the model of size.py, one block after the other."""
    total = 0
    for postings in lists_of(rows).values():
        last, gaps = -1, []
        for _, number in postings:
            gaps.append(number - last - 1)
            last = number
        for start in range(0, len(postings), 128):
            part = slice(start, start + 128)
            for values in (gaps[part], [v - 1 for v, _ in postings[part]]):
                total += math.ceil(len(values) * int(max(values)).bit_length() / 8)
            total += 8
    return total


@quick
@given(impact_rows, st.integers(1, 200), st.integers(0, 2))
def test_bytes_finds_a_threshold_that_just_fits(collection, target, least) -> None:
    check_bytes(collection, target, "impact", least, 1)


@quick
@given(weight_rows, st.integers(1, 200), st.integers(0, 2), st.sampled_from([100.0, 1.0]))
def test_bytes_counts_weights_as_the_impacts_that_they_will_be(
    collection, target, least, scale
) -> None:
    check_bytes(collection, target, "weight", least, scale)


def check_bytes(collection: Collection, target: int, unit: Unit, least: int, scale: float) -> None:
    rows = collection.rows

    def size(bound: float) -> int:
        full = with_least(rows, [{t for t in r if r[t] >= bound} for r in rows], least)
        scaled = [{t: round(v * scale) for t, v in r.items()} for r in only(rows, full)]
        return packed([{t: v for t, v in r.items() if v} for r in scaled])

    found, options = [policy("bytes", str(target))], PruneOptions(min_terms=least, scale=scale)
    if size(math.inf) > target:
        with pytest.raises(UsageError, match="--min-terms"):
            pruned(collection, found, unit, 3, options)
        return
    got, (entry,) = pruned(collection, found, unit, 3, options)
    bound = entry["threshold"]
    full = with_least(rows, [{t for t in r if r[t] >= bound} for r in rows], least)
    assert got == only(rows, full)
    assert entry["bytes"] == size(bound) <= target
    lower = [v for r in rows for v in r.values() if v < bound]
    assert not lower or size(max(lower)) > target


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 600))
@example(0, 128)
def test_packed_bytes_of_long_lists(seed, documents) -> None:
    matrix = random_matrix(seed, documents, 5, 0.7, 300)
    docs, terms = np.nonzero(matrix)
    order = np.argsort(terms, kind="stable")
    got = packed_bytes(
        np.bincount(terms, minlength=5),
        docs[order].astype(np.int32),
        matrix[docs, terms][order].astype(np.int32),
    )
    rows = [{str(t): int(row[t]) for t in np.flatnonzero(row)} for row in matrix]
    assert got == packed(rows)


@pytest.mark.parametrize("method", ["term-quantile", "list-cap", "bytes"])
def test_a_budget_that_forces_sorting_to_disk_changes_nothing(method: str, tmp_path: Path) -> None:
    matrix = random_matrix(5, 900, 40, 0.5, 9)
    made = policy(method, {"term-quantile": 0.5, "list-cap": 100, "bytes": 6000}[method])
    ids, terms = [f"d{i}" for i in range(900)], [f"t{i}" for i in range(40)]
    found = [
        as_dictionaries(list(source.batches()), source.vocabulary)
        for source in (
            PrunedSource(lambda: MemorySource(matrix, ids, terms), made, memory=memory, temporary=t)
            for memory, t in ((2_000_000_000, None), (20_000, tmp_path))
        )
    ]
    assert found[0] == found[1]
    assert sum(len(row) for _, row in found[0]) < (matrix > 0).sum()
    assert not list(tmp_path.iterdir())


@quick
@given(collections(few_impacts), impact_cases)
def test_a_vocabulary_that_grows_while_it_is_read_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, collection: Collection, case
) -> None:
    folder = tmp_path_factory.mktemp("grows")
    records = zip(collection.ids, collection.rows, strict=True)
    write_json_lines(folder / "a.jsonl", ({"id": i, "vector": row} for i, row in records))
    method, value, reference = case
    source = PrunedSource(lambda: open_source(folder), policy(method, value), min_terms=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_records, "BATCH_ROWS", 2)
        got = as_dictionaries(list(source.batches()), source.vocabulary)
    kept = only(collection.rows, reference(collection.rows, value))
    assert got == list(zip(collection.ids, kept, strict=True))


def test_terms_that_come_late_are_ranked_and_dropped_too(tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text(
        '{"id":"1","vector":{"m":1,"l":1}}\n{"id":"2","vector":{"m":1,"l":1}}\n'
        '{"id":"3","vector":{"m":1,".":1,"a":1}}\n{"id":"4","vector":{"m":1,"a":1}}\n'
    )
    policies = [policy("drop-terms", "@punctuation"), policy("top-k", 1)]
    source = PrunedSource(lambda: open_source(file), policies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_records, "BATCH_ROWS", 1)
        got = as_dictionaries(list(source.batches()), source.vocabulary)
    assert [row for _, row in got] == [{"l": 1}, {"l": 1}, {"a": 1}, {"a": 1}]


def test_equal_and_single_postings_survive_every_quantile() -> None:
    rows = [{"same": 4, "once": 1}, {"same": 4}, {"same": 4}]
    collection = Collection(Vocabulary(["same", "once"]), ["a", "b", "c"], rows)
    for quantile in ("0.5", "0.99", "1"):
        assert pruned(collection, [policy("term-quantile", quantile)], "impact")[0] == rows


@pytest.mark.parametrize("unit", ["impact", "weight"])
def test_a_bound_is_not_missed_by_rounding(unit: Unit) -> None:
    """0.07 x 100 is 7.000000000000001 in floating point."""
    terms = [f"t{i:02}" for i in range(16)]
    sevens: Row = dict(zip(terms, [7] * 14 + [2], strict=False))
    collection = Collection(Vocabulary(terms), ["a", "b"], [sevens, {"t00": 100, "t01": 7}])
    (one, _), _ = pruned(collection, [policy("mass-share", 0.07)], unit)
    assert one == {"t00": 7}
    (_, two), _ = pruned(collection, [policy("max-share", 0.07)], unit)
    assert two == {"t00": 100, "t01": 7}
    rows: list[Row] = [{"t": value} for value in range(1, 102)]
    collection = Collection(Vocabulary(["t"]), [str(i) for i in range(101)], rows)
    got, _ = pruned(collection, [policy("term-quantile", 0.07)], unit)
    assert got == [{}] * 7 + rows[7:]


def test_the_quantile_is_numpys_higher_one() -> None:
    values = np.random.default_rng(3).integers(1, 50, 101)
    rows = [{"t": int(v)} for v in values]
    collection = Collection(Vocabulary(["t"]), [str(i) for i in range(101)], rows)
    for quantile in (0.5, 0.75, 0.85):
        got, _ = pruned(collection, [policy("term-quantile", quantile)], "impact")
        least = np.quantile(values, quantile, method="higher")
        assert [r["t"] for r in got if r] == [v for v in values.tolist() if v >= least]


@pytest.mark.parametrize(
    ("name", "dropped", "kept"),
    [
        ("@unused", ["[unused0]", "[unused993]"], ["[unused]", "[unusedx]", "unused0", "[CLS]"]),
        ("@special", ["[CLS]", "[SEP]", "</s>", "<unk>"], ["cls", "[unused1]", "s"]),
        ("@punctuation", [".", "##,", "\u2581(", "$", "\u2014", "..."], ["a.", "##s", "1", "##"]),
        ("@english", ["the", "The", "\u2581of", "\u0120and"], ["##the", "then1", "cat"]),
    ],
)
def test_built_in_lists_name_what_they_say(name: str, dropped: list[str], kept: list[str]) -> None:
    terms = [*dropped, *kept]
    collection = Collection(Vocabulary(terms), ["d"], [dict.fromkeys(terms, 2)])
    (row,), _ = pruned(collection, [policy("drop-terms", name)], "impact")
    assert sorted(row) == sorted(kept)


def test_a_file_of_terms_is_recorded_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "terms.txt"
    file.write_bytes("\ufeffcat\r\n\n##s\n".encode())
    collection = Collection(Vocabulary(["cat", "##s", "s"]), ["d"], [{"cat": 3, "##s": 2, "s": 1}])
    rows, (entry,) = pruned(collection, [policy("drop-terms", str(file))], "impact")
    assert rows == [{"s": 1}]
    assert entry["value"] == str(file) and entry["terms"] == 2 and len(entry["sha256"]) == 64


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("nope", 1), ("top-k", 0), ("top-k", -1), ("top-k", 2.5), ("top-k", "many"),
        ("top-k", "nan"), ("top-k", True), ("threshold", 0), ("threshold", -1),
        ("threshold", "nan"), ("threshold", "inf"), ("max-share", 0), ("max-share", 1.1),
        ("mass-share", "nan"), ("mass-share", 0), ("term-quantile", 0), ("term-quantile", 75),
        ("list-cap", 0), ("list-cap", "x"), ("postings", 0), ("postings", "0%"),
        ("postings", "101%"), ("postings", "%"), ("postings", "M"), ("postings", ""),
        ("postings", "2.5"), ("bytes", "-1M"), ("bytes", "1X"), ("drop-terms", "@every"),
    ],
)  # fmt: skip
def test_values_that_mean_nothing_are_refused(method: str, value: float | str) -> None:
    with pytest.raises(UsageError) as caught:
        policy(method, value)
    assert method in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\n"])
def test_a_file_without_terms_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "terms.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInputError, match=r"terms\.txt"):
        policy("drop-terms", str(file))


def test_numbers_may_be_written_as_people_write_them() -> None:
    assert policy("postings", "2M") == policy("postings", 2_000_000)
    assert policy("bytes", "1.5g").value == 1_500_000_000
    assert policy("postings", "30%").value == "30%"
    assert policy("top-k", "64") == policy("top-k", 64.0)
    assert policy("top-k", 64.0).value == 64


def test_a_weight_is_no_threshold_for_impacts() -> None:
    for value in (0.5, 1.25):
        with pytest.raises(UsageError, match=f"x 100 it is {value * 100:g}"):
            memory_source([policy("threshold", value)])


def test_an_impact_as_threshold_for_weights_is_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collection = Collection(Vocabulary(["a"]), ["d"], [{"a": 1.0}])
    pruned(collection, [policy("threshold", 50)], "weight")
    assert "looks like an impact" in caplog.text


def memory_source(policies: list[Policy], **options) -> PrunedSource:
    matrix = random_matrix(1, 30, 12, 0.6, 9)
    ids, terms = [f"d{i}" for i in range(30)], [f"t{i}" for i in range(12)]
    return PrunedSource(lambda: MemorySource(matrix, ids, terms), policies, **options)


def test_an_index_is_built_without_a_file_in_between(tmp_path: Path) -> None:
    first = memory_source([policy("top-k", 4)])
    second = PrunedSource(first.again, policy("threshold", 5), min_terms=2)
    manifest = engine("exact").build(second, tmp_path / "index")
    assert [step["method"] for step in manifest.pruning] == ["top-k", "threshold"]
    assert manifest.counts.postings == manifest.pruning[-1]["postings_after"]
    assert manifest.counts.documents == 30
    again = engine("exact").build(second.again(), tmp_path / "same")
    assert again == manifest


def test_statistics_are_gathered_once_for_many_passes() -> None:
    opened = 0

    def open_one() -> ImpactSource:
        nonlocal opened
        opened += 1
        return MemorySource(random_matrix(1, 30, 12, 0.6, 9), [f"d{i}" for i in range(30)],
                            [f"t{i}" for i in range(12)])  # fmt: skip

    source = PrunedSource(open_one, [policy("term-quantile", 0.5), policy("list-cap", 3)])
    first = as_dictionaries(list(source.batches()), source.vocabulary)
    assert opened == 1 + 2
    twin = source.again()
    assert as_dictionaries(list(twin.batches()), twin.vocabulary) == first
    assert opened == 1 + 2 + 1
    assert twin.manifest == source.manifest


@pytest.mark.parametrize("change", ["documents", "postings", "terms", "more terms"])
def test_a_source_that_changes_between_passes_is_noticed(change: str) -> None:
    matrix = random_matrix(1, 30, 12, 0.6, 9)
    opened = 0

    def open_one() -> ImpactSource:
        nonlocal opened
        opened += 1
        now, terms = matrix, [f"t{i}" for i in range(12)]
        if opened == 1:  # read last
            if change == "documents":
                now = matrix[:-1]
            elif change == "postings":
                now = matrix.copy()
                now[3] = 0
            elif change == "terms":
                terms = [*reversed(terms)]
            else:
                now, terms = np.hstack([matrix, matrix[:, :1]]), [*terms, "new"]
        return MemorySource(now, [f"d{i}" for i in range(len(now))], terms)

    source = PrunedSource(open_one, policy("term-quantile", 0.5))
    with pytest.raises(ExternalProgramError, match="change"):
        list(source.batches())


def test_queries_are_pruned_in_memory() -> None:
    queries = queries_of(random_matrix(2, 9, 6, 0.7, 20), [f"t{i}" for i in range(6)])
    cut = pruned_queries(queries, [policy("top-k", 3)])
    (one, other) = (as_dictionaries([q.batch], q.vocabulary) for q in (queries, cut))
    assert other == [(i, {t: row[t] for t in ranked(row)[:3]}) for i, row in one]
    assert cut.path == queries.path and cut.manifest is not None
    assert cut.manifest.pruning[0]["side"] == "query"


def test_every_method_has_its_name_and_source() -> None:
    sources = ("arXiv", "Lucene", "OpenSearch", "Threshold")
    for name, kind in METHODS.items():
        assert kind.method == name
        assert any(source in (kind.__doc__ or "") for source in sources)


@pytest.fixture(scope="module")
def real(shared: Path) -> tuple[Path, list[Row]]:
    path = shared / "splade-v3-nfcorpus" / "docs.jsonl.gz"
    source = open_source(path)
    return path, [row for _, row in as_dictionaries(list(source.batches()), source.vocabulary)]


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("method", "value", "reference"),
    [
        ("top-k", "64", top_k),
        ("top-k", "32", top_k),
        ("top-k", "8", top_k),
        ("term-quantile", "0.75", term_quantile),
        ("list-cap", "100", list_cap),
    ],
)
def test_real_vectors(
    real: tuple[Path, list[Row]], method: str, value: str, reference: Reference
) -> None:
    path, rows = real
    source = PrunedSource(lambda: open_source(path), policy(method, value), min_terms=0)
    got = [row for _, row in as_dictionaries(list(source.batches()), source.vocabulary)]
    assert got == only(rows, reference(rows, value))


@pytest.mark.long
def test_bytes_are_those_of_a_pisa_index(real: tuple[Path, list[Row]], tmp_path: Path) -> None:
    try:
        engine("pisa").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    source = PrunedSource(lambda: open_source(real[0]), policy("bytes", "1M"))
    engine("pisa").build(source, tmp_path / "index")
    (lists,) = (tmp_path / "index").glob("*.block_simdbp")
    assert 0.9e6 < lists.stat().st_size <= 1e6
