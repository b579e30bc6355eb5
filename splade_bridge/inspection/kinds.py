"""All kinds of things that are recognised: a table, in the order in which they are looked for.

A new kind is an entry of :data:`KINDS`: how it is recognised, and what describes it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import all_files, check_file, is_there
from splade_bridge.files.lines import STDIO, open_reader
from splade_bridge.files.outputs import MARK, has_plan, is_unfinished, manifest_file, plan_file
from splade_bridge.formats.ciff_reader import CiffReader
from splade_bridge.formats.columns import SUFFIXES as TABLE_SUFFIXES
from splade_bridge.formats.feeds.write import FEED_TARGETS, FEEDS
from splade_bridge.formats.forward import is_forward
from splade_bridge.formats.npz import matrix_at
from splade_bridge.formats.pisa_source import collection_at
from splade_bridge.formats.tensors import tensors_at
from splade_bridge.inspection import (
    ciff,
    feeds,
    jsonvector,
    judged,
    lucene,
    matrices,
    models,
    ours,
    tables,
    texts,
    vectors,
)
from splade_bridge.inspection.found import Inspection, InspectOptions, completed
from splade_bridge.inspection.look import Look
from splade_bridge.text.corpora import ID_FIELDS, TEXT_FIELDS, TSV_SUFFIXES

MOST = 0.9
"""Share of the first lines that must look alike: some may be what is wrong with a file."""
REPEATS = 0.5
"""Share of the first lines with a token twice in a row that make them topics."""

Recognise = Callable[[Look], str | None]
Describe = Callable[[Path, Inspection, InspectOptions], None]


class Kind(NamedTuple):
    """One kind.

    Attributes:
        what: in words.
        recognise: says why it is this, or None.
        describe: fills what was found.
        ours: whether this tool alone makes it.
    """

    name: str
    what: str
    recognise: Recognise
    describe: Describe
    ours: bool = False


def inspect_path(path: Path, options: InspectOptions = InspectOptions()) -> Inspection:
    """What ``path`` is, and all that can be said of it.

    Raises:
        BadInputError: nothing is there, it is of no known kind, or it is ours and damaged.
        MissingToolError: what reads it is not installed.
    """
    if path == STDIO or not is_there(path):
        raise BadInputError("no such file or folder", str(path))
    if not path.is_dir():
        check_file(path)
    look = Look(path, anew=options.anew)
    for kind in KINDS:
        if options.source_format not in (None, kind.name):
            continue
        reason = kind.recognise(look)
        if reason is None and options.source_format is not None and not look.is_ours:
            reason = "--from says so"
        if reason is not None:
            return _described(kind, reason, look, options)
    if look.is_ours and look.manifest is not None:
        raise BadInputError(
            f"is {look.manifest.kind}, as its manifest says, and not --from "
            f"{options.source_format}",
            str(path),
        )
    raise BadInputError(
        "cannot tell what this is: no manifest of ours, no index of Lucene or files of PISA, no "
        "CIFF, no vectors, texts, topics, run or judgements that are known; --from says which "
        "vectors it holds",
        str(path),
    )


def _described(kind: Kind, reason: str, look: Look, options: InspectOptions) -> Inspection:
    found = Inspection(
        path=str(look.path),
        kind=kind.name,
        what=kind.what,
        reason=reason,
        ours=kind.ours,
        bytes=sum(p.stat().st_size for p in all_files(look.path)),
    )
    if kind.ours or kind.name in IN_EXPORTS:
        found.manifest = look.manifest
        found.ours = kind.ours or found.manifest is not None
    return completed(found, options, lambda: kind.describe(look.path, found, options))


IN_EXPORTS = (
    "jsonvector", "ciff", "forward", "topics", "pisa-canonical", "npz", "seismic", "hf",
)  # fmt: skip
"""Kinds that may lie in an export of ours, whose manifest is theirs then."""


def _manifest(kind: str) -> Recognise:
    def recognise(look: Look) -> str | None:
        if look.is_ours and look.manifest is not None and look.manifest.kind == kind:
            return f"its {manifest_file(look.path).name} says so"
        return None

    return recognise


def _unfinished(look: Look) -> str | None:
    if not look.is_dir or look.is_ours:
        return None
    if has_plan(look.path):
        return f"it has {plan_file(look.path).name} and no manifest"
    if look.has(MARK) or is_unfinished(look.path):
        return "a folder of ours without a manifest"
    return "parts and no manifest" if look.has("part-*.parquet") else None


def _comparison(look: Look) -> str | None:
    return (
        "it has results.json and report.html" if look.has("results.json", "report.html") else None
    )


def _lucene(look: Look) -> str | None:
    return "it has a file segments_N" if look.has("segments_*") and not look.is_ours else None


def _forward(look: Look) -> str | None:
    return "it has indptr.npy and terms.npy" if look.is_dir and is_forward(look.path) else None


def _canonical(look: Look) -> str | None:
    base = None if look.is_ours else collection_at(look.path)
    return f"{base.name}.docs, .freqs and .sizes lie together" if base else None


def _checkpoint(look: Look) -> str | None:
    if look.has("config.json") and any(look.has(pattern) for pattern in ours.WEIGHTS):
        return "it has config.json and weights"
    return None


def _ciff(look: Look) -> str | None:
    if look.is_dir:
        return None
    if look.suffix == ".ciff":
        return "its name ends in .ciff"
    if not look.head or look.head[:1] in b"{[" or look.lines:
        return None
    try:
        with open_reader(look.path) as stream:
            CiffReader(stream, look.path, 1 << 62)
            return "it begins with a header of CIFF"
    except BadInputError:
        return None


def _npz(look: Look) -> str | None:
    found = matrix_at(look.path)
    return f"{found.name} is an archive of arrays" if found else None


def _tensors(look: Look) -> str | None:
    found = tensors_at(look.path)
    return f"{found.name} holds tensors" if found else None


def _jsonvector(look: Look) -> str | None:
    vector = look.first_object.get("vector")
    return "its first object has a vector of terms" if isinstance(vector, dict) else None


def _seismic(look: Look) -> str | None:
    if _jsonvector(look) and "content" in look.first_object:
        return "its first object has content and a vector of terms"
    return None


def _alike(look: Look, fits: Callable[[list[str]], bool]) -> bool:
    good = sum(map(fits, look.columns))
    return not look.is_dir and bool(look.columns) and good >= MOST * len(look.columns)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _run(look: Look) -> str | None:
    if look.numbers_by_pair is not None and not look.judgements:
        return "one object of query -> document -> score"
    if look.columns[:1] == [judged.BEIR_HEADER] or _alike(look, lambda c: c[1:2] == ["all"]):
        return None  # judgements; or what trec_eval prints
    if _alike(look, lambda c: len(c) == judged.TREC_RUN and _is_number(c[4])):
        return "lines of six columns, the fifth a number"
    if not _alike(look, lambda c: len(c) == judged.THREE and _is_number(c[2])):
        return None
    ranks: dict[str, int] = {}
    rising = 0
    rows = [c for c in look.columns if len(c) == judged.THREE]
    for query_id, _, value in rows:
        ranks[query_id] = ranks.get(query_id, 0) + 1
        rising += value == str(ranks[query_id])
    if rising >= MOST * len(rows) and max(ranks.values()) > 1:
        return "lines of three columns, the third counts from 1 for each query"
    if any(not c[2].lstrip("+-").isdigit() for c in rows):
        return "lines of three columns, the third a score"
    return None


def _qrels(look: Look) -> str | None:
    def integer(text: str) -> bool:
        return text.lstrip("+-").isdigit()

    if look.numbers_by_pair is not None and look.judgements:
        return "one object of query -> document -> small integer"
    if look.columns[:1] == [judged.BEIR_HEADER] and not look.is_dir:
        return "the header of BEIR's judgements"
    if _alike(look, lambda c: len(c) == judged.TREC_QRELS and integer(c[3])):
        return "lines of four columns, the fourth an integer"
    if _alike(look, lambda c: len(c) == judged.THREE and integer(c[2])):
        return "lines of three columns, the third an integer that does not count from 1"
    return None


def _topics(look: Look) -> str | None:
    if look.is_dir or not look.lines or look.head[:1] in b"{[":
        return None
    pairs = [line.split("\t") for line in look.lines]
    if sum(len(pair) == 2 for pair in pairs) < MOST * len(pairs):
        return None
    twice = 0
    for tokens in (pair[1].split(" ") for pair in pairs if len(pair) == 2):
        twice += any(a and a == b for a, b in pairwise(tokens))
    if twice >= REPEATS * len(pairs):
        return "lines of id<TAB>tokens, with tokens twice in a row"
    return None


def _texts(look: Look) -> str | None:
    if look.is_dir:
        if look.has("corpus.jsonl*") or look.has("queries.jsonl*"):
            return "it has BEIR's corpus.jsonl or queries.jsonl"
        if _text_object(look):
            return "the first object in it has an id and a text"
        tables = any(look.has(pattern) for pattern in ("*.parquet", "*.arrow", "*.tsv*"))
        return "files of Parquet, Arrow or TSV" if tables else None
    if look.suffix in TABLE_SUFFIXES:
        return "a table that is no part of a store and holds no vectors"
    if _text_object(look):
        return "its first object has an id and a text"
    tabs = sum("\t" in line for line in look.lines)
    if look.suffix in TSV_SUFFIXES and look.lines and tabs >= MOST * len(look.lines):
        return "lines of id<TAB>text"
    return None


def _dense(look: Look) -> str | None:
    vector = look.first_object.get("vector")
    return "its first object has a vector that is an array" if isinstance(vector, list) else None


def _text_object(look: Look) -> bool:
    known = look.first_object
    return any(f in known for f in ID_FIELDS) and any(f in known for f in TEXT_FIELDS)


KINDS: tuple[Kind, ...] = (
    Kind("vectors", "a vector store", _manifest("vectors"), ours.store, True),
    Kind("shard", "some parts of a vector store", _manifest("shard"), ours.shard, True),
    Kind("export", "an export", _manifest("export"), ours.export, True),
    Kind("index", "an index", _manifest("index"), ours.index, True),
    Kind("feed", "a feed", _manifest("feed"), feeds.feed, True),
    Kind("dense-index", "an index of dense vectors", _manifest("dense"), ours.dense_index, True),
    Kind("model", "a model for another runtime", _manifest("model"), models.exported, True),
    Kind("bm25", "BM25 weights", _manifest("bm25"), ours.bm25, True),
    Kind("unfinished", "something that is not finished", _unfinished, ours.unfinished, True),
    Kind("comparison", "a comparison", _comparison, ours.comparison, True),
    Kind("lucene", "a Lucene index", _lucene, lucene.describe),
    Kind("forward", "a forward store", _forward, vectors.forward, True),
    Kind("pisa-canonical", "PISA's canonical files", _canonical, vectors.canonical),
    Kind("checkpoint", "a model's checkpoint", _checkpoint, ours.checkpoint),
    Kind("onnx", "a graph of ONNX", models.recognise, models.graph),
    Kind("npz", "a matrix, as scipy saves it", _npz, matrices.npz),
    Kind("tensors", "tensors of documents x terms", _tensors, matrices.tensors),
    Kind("hf", "a table of vectors", tables.recognise, tables.describe),
    Kind("ciff", "a CIFF file", _ciff, ciff.describe),
    *(
        Kind(
            target,
            f"documents for {FEEDS[target].engine}",
            feeds.recognises(target),
            feeds.documents_of(target),
        )
        for target in FEED_TARGETS
    ),
    Kind("seismic", "vectors as seismic reads them", _seismic, jsonvector.describe),
    Kind("jsonvector", "a JsonVectorCollection", _jsonvector, jsonvector.describe),
    Kind(
        "dense",
        "dense vectors, which only search reads, as queries",
        _dense,
        jsonvector.dense,
    ),
    Kind("run", "a run", _run, judged.run),
    Kind("qrels", "judgements", _qrels, judged.qrels),
    Kind("topics", "queries as repeated tokens", _topics, texts.topics),
    Kind("texts", "a corpus or queries", _texts, texts.describe),
)
