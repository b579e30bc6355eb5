"""Training data from the files that people have, as one kind of data set.

Every format ends as a ``datasets.Dataset`` with the columns ``query``, ``positive``,
``negative_1`` .. ``negative_n`` and, where there are teacher scores, ``label``: a list of n + 1
floats, the positive's first. That is what the trainers of sentence-transformers take. With
``mask_positives`` a column ``known`` is for :mod:`splade_bridge.training.in_batch`.

| format | files |
|---|---|
| ``triples`` | TSV of texts: query, positive, negatives, perhaps with a teacher's scores; see :mod:`splade_bridge.training.columns` |
| ``id-triples`` | TSV of ids: query, positive, negative (MS MARCO), or with two teacher scores in front (Hofstätter et al., arXiv:2010.02666); needs ``collection`` and ``queries`` |
| ``jsonl`` | an object a line, or an array of objects, in the layouts of :mod:`splade_bridge.training.records` |
| ``dataset`` | the same objects as rows of Parquet or Arrow, a file or a folder; see :mod:`splade_bridge.training.record_files` |
| ``judged`` | queries, collection and qrels, with hard negatives and scores from files |
| ``beir`` | the same from a BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv |
| ``docstrings`` | documentation strings of Python and its packages, for the demo's model |
"""  # noqa: E501 - a table

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from splade_bridge.errors import BadInputError, UsageError, require
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.typed import Where, json_file, typed
from splade_bridge.files.writing import staged_folder
from splade_bridge.text.corpora import corpus_files, read_texts
from splade_bridge.training.columns import column_groups
from splade_bridge.training.examples import KNOWN, Choice, DataCounts, Example
from splade_bridge.training.groups import Group
from splade_bridge.training.judged import (
    any_qrels,
    candidates,
    judged_groups,
    scored_candidates,
)
from splade_bridge.training.record_files import table_records
from splade_bridge.training.records import json_groups, record_groups
from splade_bridge.training.row_maker import RowMaker, RowOptions
from splade_bridge.training.score_files import read_scores
from splade_bridge.training.texts import PairScores, TextTable

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

log = logging.getLogger(__name__)

DataFormat = Literal["triples", "id-triples", "jsonl", "dataset", "judged", "beir", "docstrings"]
FORMATS: tuple[DataFormat, ...] = get_args(DataFormat)

BATCH_ROWS = 1000
ROWS, ACCOUNT = "rows.arrow", "counts.json"
FORMAT_VERSION = 2
"""Of what lies in a cache folder."""


@dataclass(frozen=True)
class DataOptions:
    """The ``[data]`` section of a recipe.

    Attributes:
        format: see the module's table.
        path: the file, or the folder of ``beir``; for ``docstrings`` a folder with OpenStax files
            (``glossary-pairs.jsonl.gz``), or nothing.
        collection: texts of the document ids, whatever ``encode`` takes.
        queries: texts of the query ids.
        qrels: which documents answer; TREC, BEIR, or JSON ``{query: {document: grade}}``.
        hard_negatives: candidates by query: JSON lines of ``mine``, a TREC run or a score file.
            Without it the documents of ``scores`` that are no positives are candidates.
        scores: teacher scores, ``{query: {document: score}}`` as JSON, JSON lines, Parquet, an
            old pickle, or a TREC run; see :mod:`splade_bridge.training.score_files`.
        split: of the qrels of a ``beir`` folder, or of a ``dataset`` of several splits.
        negatives: how many of each row; 0 leaves it to the other rows of a batch.
        choice: ``random`` (seeded), ``first`` of the file or ``hardest`` (highest score).
        positives: ``each`` positive makes a row, or ``one`` of each query, drawn.
        mask_positives: a document of another row that answers a query, too, is no negative of it.
        min_grade: from which grade on a document answers.
        max_rows: only the first so many.
        seed: of what is drawn.
        cache: folder for tables and the data set, which are then mapped from disk and used
            again by the next run with the same options and files. Without it the data set is
            held in memory.
        score_name: the teacher of ``scores``, where the file has scores of several.
        packages: of ``docstrings``: installed packages to read besides the standard library.
        library_pairs: of ``docstrings``: pairs made of each documented name of Python's library.
        package_pairs: of each name of ``packages``; below 1, of that share of them.
        written_pairs: of each question that people wrote.
    """

    format: DataFormat
    path: Path | None = None
    collection: str | None = None
    queries: str | None = None
    qrels: Path | None = None
    hard_negatives: Path | None = None
    scores: Path | None = None
    split: str = "train"
    negatives: int = 1
    choice: Choice = "random"
    positives: Literal["each", "one"] = "each"
    mask_positives: bool = False
    min_grade: int = 1
    max_rows: int | None = None
    seed: int = 0
    cache: Path | None = None
    score_name: str | None = None
    packages: tuple[str, ...] = ()
    library_pairs: int = 2
    package_pairs: float = 2.0
    written_pairs: int = 1

    @property
    def place(self) -> str:
        """What messages call the data."""
        return str(self.path or self.collection or self.format)

    def stamps(self) -> list[tuple[str, int, int]]:
        """Path, size and time of change of all files that are named."""
        named = (self.path, self.collection, self.queries, self.qrels)
        found = [Path(p) for p in (*named, self.hard_negatives, self.scores) if p is not None]
        files = [f for p in found if p.is_dir() for f in sorted(p.rglob("*")) if f.is_file()]
        files = [f for f in files if self.cache not in f.parents]
        return [_stamp(f) for f in [*files, *(p for p in found if p.is_file())]]


class TrainingData(NamedTuple):
    """The rows and the account of what did not become one, or was not read."""

    dataset: datasets.Dataset
    counts: DataCounts


def load_training_data(options: DataOptions) -> datasets.Dataset:
    """The data set of :func:`read_training_data`; what was left out is logged as a warning."""
    return read_training_data(options).dataset


def read_training_data(options: DataOptions) -> TrainingData:
    """Rows of texts with the columns of this module's description.

    Raises:
        UsageError: options that do not go together.
        BadInputError: a file is missing or broken (file:line), or not one row could be made.
        MissingToolError: the extra ``train`` is not installed.
    """
    require("train", "training data")
    import datasets
    import pyarrow as pa

    check_options(options)
    if options.cache is None:
        with scratch_folder() as folder:
            counts = DataCounts()
            blocks = list(_blocks(options, folder, counts))
        dataset = datasets.Dataset(pa.Table.from_batches(blocks))
    else:
        dataset, counts = _cached(options, options.cache)
    for line in counts.lines():
        log.warning("%s", line)
    log.info("%d rows of training data", counts.rows)
    return TrainingData(dataset, counts)


def check_options(options: DataOptions) -> None:
    """Raise UsageError for options that do not go together, naming the key."""
    form = options.format
    if form not in FORMATS:
        raise UsageError(f"data.format {form!r}: there are {', '.join(FORMATS)}")
    needed = {
        "triples": ("path",),
        "id-triples": ("path", "collection", "queries"),
        "jsonl": ("path",),
        "dataset": ("path",),
        "judged": ("collection", "queries", "qrels"),
        "beir": ("path",),
        "docstrings": (),
    }[form]
    for name in needed:
        if getattr(options, name) is None:
            raise UsageError(f"data.{name} must be given for the format {form}")
    if options.choice not in ("random", "first", "hardest"):
        raise UsageError(f"data.choice {options.choice!r}: there are random, first and hardest")
    if options.positives not in ("each", "one"):
        raise UsageError(f"data.positives {options.positives!r}: there are each and one")
    if options.negatives < 0:
        raise UsageError(f"data.negatives must be 0 or more, not {options.negatives}")
    if options.max_rows is not None and options.max_rows < 1:
        raise UsageError(f"data.max_rows must be 1 or more, not {options.max_rows}")
    if form == "id-triples" and options.negatives > 1:
        raise UsageError("data.negatives: id-triples hold one negative a line; set 1 or 0")
    judged = form in ("judged", "beir")
    if judged and options.negatives and not (options.hard_negatives or options.scores):
        raise UsageError(
            "data.negatives: name their file with hard_negatives or scores (`train mine` makes "
            "one), or set negatives to 0, which leaves it to the other rows of a batch"
        )
    if form in ("triples", "docstrings") and options.scores:
        raise UsageError(f"data.scores: the format {form} has no ids to find scores by")


def _blocks(options: DataOptions, folder: Path, counts: DataCounts) -> Iterator[pa.RecordBatch]:
    """The rows as Arrow blocks; tables that are needed on the way go into ``folder``."""
    import pyarrow as pa

    examples: Iterator[Example] = islice(_examples(options, folder, counts), options.max_rows)
    first = next(examples, None)
    if first is None:
        told = "; ".join(counts.lines()) or "the files hold nothing"
        raise BadInputError(f"not one row of training data could be made: {told}", options.place)
    masked = options.mask_positives
    schema = _schema(options.negatives, labelled=first.scores is not None, masked=masked)
    examples = chain([first], examples)
    while block := list(islice(examples, BATCH_ROWS)):
        for example in block:
            if (example.scores is None) is not (first.scores is None):
                held, other = ("no", first.place) if example.scores is None else ("", first.place)
                raise BadInputError(
                    f"{held or 'has'} teacher scores, unlike {other}: all rows have them, or none",
                    example.place,
                )
        columns = [[e.query for e in block], [e.positive for e in block]]
        columns += [[e.negatives[i] for e in block] for i in range(options.negatives)]
        labels = [[e.scores for e in block]] if first.scores is not None else []
        known = [[e.known for e in block]] if masked else []
        counts.rows += len(block)
        yield pa.record_batch([*columns, *labels, *known], schema=schema)


def _schema(negatives: int, *, labelled: bool, masked: bool) -> pa.Schema:
    import pyarrow as pa

    names = ["query", "positive", *(f"negative_{i}" for i in range(1, negatives + 1))]
    fields = [pa.field(name, pa.string()) for name in names]
    if labelled:
        fields.append(pa.field("label", pa.list_(pa.float32())))
    if masked:
        fields.append(pa.field(KNOWN, pa.list_(pa.int64())))
    return pa.schema(fields)


def _examples(options: DataOptions, folder: Path, counts: DataCounts) -> Iterator[Example]:
    maker = RowMaker(
        RowOptions(
            options.negatives,
            options.choice,
            options.positives,
            options.seed,
            options.mask_positives,
        ),
        counts,
    )
    if options.format == "docstrings":
        from splade_bridge.training.documentation import PairCounts, docstring_groups

        pairs = PairCounts(options.library_pairs, options.package_pairs, options.written_pairs)
        return maker.rows(
            docstring_groups(options.path, options.packages, pairs, options.seed, counts)
        )
    if options.format == "beir" and options.path:
        beir = options.path
        options = replace(
            options,
            collection=options.collection or str(beir),
            queries=options.queries or str(beir),
            qrels=options.qrels or beir / "qrels" / f"{options.split}.tsv",
        )
    if options.queries:
        maker.queries = {t.id: t.text for t in read_texts(options.queries, "queries")}
    if options.collection:
        maker.table = _text_table(options.collection, folder)
    return maker.rows(_groups(options, maker, counts))


def _groups(options: DataOptions, maker: RowMaker, counts: DataCounts) -> Iterator[Group]:
    path = options.path
    found: Iterator[Group] | None = None
    if options.format == "triples" and path:
        return column_groups(path, "text", counts)
    if options.scores and (options.hard_negatives or not options.qrels):
        scored = read_scores(options.scores, options.score_name)
        pairs = ((s.query_id, d, value) for s in scored for d, value in s.scores.items())
        maker.teacher = PairScores(pairs, str(options.scores))
    if options.format == "id-triples" and path:
        return column_groups(path, "id", counts)
    ids = options.collection is not None
    if options.format == "jsonl" and path:
        return json_groups(path, counts, ids=ids)
    if options.format == "dataset" and path:
        rows = table_records(path, options.split)
        return record_groups(rows, str(path), counts, ids=ids)
    if options.hard_negatives:
        found = candidates(options.hard_negatives, counts)
    elif options.scores:
        found = scored_candidates(options.scores, options.score_name)
    assert options.qrels  # checked above
    return judged_groups(any_qrels(options.qrels), found, options.min_grade, counts)


def _text_table(collection: str, folder: Path) -> TextTable:
    """The texts of ``collection``, from ``folder`` if they were put there before."""
    files = corpus_files(collection)
    stamp = json.dumps([collection, [_stamp(f) for f in files]])
    place = folder / f"texts-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not place.exists():
        with staged_folder(place, overwrite=False) as staging:
            TextTable.build(read_texts(collection), staging)
    return TextTable(place)


def _cached(options: DataOptions, cache: Path) -> TrainingData:
    """The rows as an Arrow stream in ``cache``, made if they are not there yet, or damaged."""
    import pyarrow as pa

    key = json.dumps(
        [FORMAT_VERSION, asdict(replace(options, cache=None)), options.stamps()], default=str
    )
    place = cache / f"rows-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if options.format != "docstrings" and place.exists():  # of docstrings, packages may change
        try:
            return _kept(place)
        except BadInputError as error:
            log.warning("%s", error)
    with staged_folder(place, overwrite=True) as staging:
        counts = DataCounts()
        blocks = _blocks(options, cache, counts)
        first = next(blocks)
        with (
            pa.OSFile(str(staging / ROWS), "wb") as sink,
            pa.ipc.new_stream(sink, first.schema) as writer,
        ):
            for block in chain([first], blocks):
                writer.write_batch(block)
        (staging / ACCOUNT).write_text(json.dumps(asdict(counts)))
    return _kept(place)


def _kept(place: Path) -> TrainingData:
    """What :func:`_cached` has put into ``place``.

    Raises:
        BadInputError: it is damaged.
    """
    import datasets
    import pyarrow as pa

    said = "damaged ({}): it is made again"
    where = Where(str(place / ACCOUNT), said=said)
    counts = typed(DataCounts, json_file(where), where)
    where = Where(str(place / ROWS), said=said)
    try:
        dataset = datasets.Dataset.from_file(str(place / ROWS))
    except (pa.ArrowException, OSError, ValueError) as error:
        where.fail(str(error))
    if len(dataset) != counts.rows:
        where.fail(f"{len(dataset)} rows, and not {counts.rows}")
    return TrainingData(dataset, counts)


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", str(path)) from error
    return str(path.resolve()), found.st_size, found.st_mtime_ns
