"""What each command prints with ``--json``: the source of docs/json.md and of its test.

Nothing imports this module to run a command; ``scripts/docs`` and the tests do. A type in
``Annotated`` stands with its meaning. The same key means the same thing in every command.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from splade_bridge.comparison.beir import BeirResult
from splade_bridge.data.choices import Side
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import (
    EncodingInfo,
    FileInfo,
    Manifest,
    QuantizationInfo,
    VocabularyInfo,
)
from splade_bridge.embeddings.choices import IndexKind, Similarity
from splade_bridge.encoding.choices import ScorerKind
from splade_bridge.engines.findings import Finding
from splade_bridge.engines.registry import EngineName
from splade_bridge.evaluation.bench import BenchRow, Latency
from splade_bridge.evaluation.probe import Probe
from splade_bridge.evaluation.quantize_study import Setting
from splade_bridge.evaluation.tune_fusion import Tuning
from splade_bridge.evaluation.verify import Difference
from splade_bridge.files.address import Scheme
from splade_bridge.inspection.found import (
    ContentHash,
    Distribution,
    Expansion,
    Fault,
    LongList,
    Scale,
)
from splade_bridge.report.beir_table import BeirTable
from splade_bridge.report.results import Results
from splade_bridge.retrieval.choices import Fusion, Normalization
from splade_bridge.retrieval.systems import Added
from splade_bridge.retrieval.two_step import Kept
from splade_bridge.server.answers import Found, Index

AnyEngine = EngineName | Scheme
"""Of this machine, or behind an address."""
Output = Annotated[str, "What was written: a file or a folder."]
MaybeOutput = Annotated[str | None, "What was written; null if that was not asked for."]
CountsOf = Annotated[Counts, "Of what was written, checked against what was read."]
Encoding = Annotated[EncodingInfo, "The model, and how it was run."]
MaybeEncoding = Annotated[EncodingInfo | None, "The model, and how it was run, as far as known."]
Quantization = Annotated[
    QuantizationInfo | None, "How weights became impacts, as far as known, and what that lost."
]
Files = Annotated[list[FileInfo], "All files, relative to the folder."]
Pruning = Annotated[list[dict[str, Any]], "The pruning steps, oldest first: docs/pruning.md."]
Seconds = Annotated[float, "Time that was spent by this call."]
QueryCount = Annotated[int, "Queries that were asked or judged."]
ResultCount = Annotated[int, "Documents found, over all queries."]
WithoutResults = Annotated[list[str], "Ids of the queries that found nothing."]
Measures = Annotated[dict[str, float], "Measure -> mean over the queries."]


class EncodeResult(TypedDict):
    """``encode``."""

    output: Output
    counts: CountsOf
    encoding: Encoding
    seconds: Seconds
    texts_per_second: Annotated[float, "Of this call."]
    tokens_per_second: Annotated[float, "Of this call."]
    padding_share: Annotated[float, "Share of the computed tokens that were padding."]


class DenseResult(TypedDict):
    """``dense``."""

    output: Output
    documents: Annotated[int, "Vectors in the index."]
    dimension: Annotated[int, "Numbers of a vector."]
    similarity: Annotated[Similarity, "What scores are."]
    index_kind: Annotated[IndexKind, "flat is exact, hnsw is not."]
    encoding: Encoding
    seconds: Seconds
    texts_per_second: Annotated[float, "Of this call."]
    build_seconds: Annotated[float, "Of making the index."]


class ExportResult(TypedDict):
    """``export``."""

    output: Output
    counts: CountsOf
    quantization: Quantization
    files: Files


class ConvertResult(TypedDict):
    """``convert``."""

    output: Output
    format: Annotated[str, "What was made."]
    held: Annotated[str, "impacts (integers) or weights (floats)."]
    counts: CountsOf
    content_hash: Annotated[str | None, "Of all that is held, the same in every format."]
    quantization: Quantization
    told: Annotated[list[str], "What the format does not hold of what was read, in sentences."]
    files: Files


class IndexResult(TypedDict):
    """``index``."""

    output: Output
    engine: Annotated[AnyEngine, "Which built it, and reads it."]
    counts: CountsOf
    quantization: Quantization
    added: Annotated[int | None, "With --update: documents that were not there before."]
    replaced: Annotated[int | None, "With --update: documents that are there in place of others."]


class DeleteResult(TypedDict):
    """``delete``."""

    index: Annotated[str, "Its address."]
    deleted: Annotated[int, "Documents that are no longer there."]
    not_there: Annotated[int, "Ids of which there was no document; with --missing-ok."]
    counts: CountsOf


class SearchResult(TypedDict):
    """``search``."""

    output: Output
    queries: QueryCount
    results: ResultCount
    without_results: WithoutResults
    mean_ms: Annotated[float, "Milliseconds a query, without encoding it."]
    algorithm: Annotated[str, "The one that was used."]
    qd_flops: Annotated[
        float | None, "Terms that a query and a document are expected to share, where told."
    ]
    kept: Annotated[
        Kept | None,
        "Of the exact results: with --exact-run, --check-against or an approximate engine.",
    ]


class ReadResult(TypedDict):
    """``search WORDS``."""

    index: Annotated[str, "As it was given."]
    found: Annotated[list[Found], "What each text found, in their order."]


class FuseResult(TypedDict):
    """``fuse``."""

    output: Output
    runs: Annotated[list[str], "What was fused, in order."]
    fusion: Annotated[Fusion, "How."]
    normalization: Annotated[Normalization | None, "Of scores; null for rrf."]
    weights: Annotated[
        list[float], "Of the runs; with --tune those for queries to come: docs/fusion.md."
    ]
    rank_constant: Annotated[int | None, "Likewise; null but for rrf."]
    depth: Annotated[int, "Documents of each list that count."]
    tuning: Annotated[Tuning | None, "With --tune."]
    queries: Annotated[int | None, "Of all runs; null with --as-query."]
    results: Annotated[int | None, "Documents, over all queries; null with --as-query."]
    without_results: Annotated[list[str], "Ids of the queries that only runs of weight 0 have."]
    told: Annotated[list[str], "What the engine does otherwise, in sentences; of --as-query."]


class RerankResult(TypedDict):
    """``rerank``."""

    output: Output
    model: Annotated[str, "What scores."]
    scorer: Annotated[ScorerKind, "What kind of model that is."]
    depth: Annotated[int, "Documents of each query that were scored, its best."]
    queries: Annotated[int, "Of the run."]
    results: ResultCount
    pairs: Annotated[int, "Of a query and a document that were scored."]
    parts_kept: Annotated[int, "Parts of the work that an interrupted call had done."]
    seconds: Seconds


class EvaluateResult(TypedDict):
    """``evaluate``."""

    measures: Measures
    queries: QueryCount
    missing: Annotated[list[str], "Ids of judged queries that the run lacks."]
    unjudged: Annotated[list[str], "Ids of queries of the run without judgements."]
    depth: Annotated[int, "The most documents that a judged query has in the run."]
    beyond_depth: Annotated[list[str], "Measures that look deeper than that."]
    per_query: NotRequired[
        Annotated[dict[str, dict[str, float]], "With --per-query: query id -> measure -> value."]
    ]


class VerifyResult(TypedDict):
    """``verify``. With a difference the exit code is 7, and the error follows on stderr."""

    equal: Annotated[bool, "Whether all indexes gave the same."]
    queries: QueryCount
    results: ResultCount
    differing: Annotated[
        dict[str, int],
        "Index -> queries that differ from the first index; of an approximate one in a score.",
    ]
    differences: Annotated[list[Difference], "The first ones in detail."]
    recall: Annotated[
        dict[str, dict[int, float]],
        "Approximate index -> share of the first index's top c that it found, by c.",
    ]


class ProbeResult(TypedDict):
    """``verify --probe``. With a difference the exit code is 7, and the error follows on stderr."""

    agree: Annotated[bool, "Whether the models in the engine say what the checkpoint does."]
    probes: Annotated[list[Probe], "Two texts for each side."]


class ModelExport(TypedDict):
    """One file for another runtime, with what belongs to it."""

    sides: Annotated[list[Side], "That it encodes."]
    folder: Annotated[str, "Relative to the output."]
    largest_difference: Annotated[float, "Of a weight from that of encode, relative above 1."]
    encoding: Encoding


class ExportModelResult(TypedDict):
    """``export-model``."""

    output: Output
    exports: Annotated[list[ModelExport], "One for both sides, or one for each."]
    files: Files


class FrontierPoint(TypedDict):
    """How a row of ``bench --frontier`` was asked, in the order of the rows."""

    of: Annotated[str, "An index, and whether it is asked approximately or as a first step."]
    setting: Annotated[dict[str, Any], "Options by their names; none for an index as it is."]
    exact: Annotated[bool, "Whether it answers exactly and finds all."]
    on_front: Annotated[bool, "Whether no other finds as much in less time, or more in the same."]


class Frontier(TypedDict):
    """What ``bench --frontier`` drew."""

    output: Output
    points: Annotated[list[FrontierPoint], "One a row."]


class BenchResult(TypedDict):
    """``bench``."""

    output: MaybeOutput
    encoding_ms: Annotated[Latency | None, "Of encoding a query with --model."]
    noisy: Annotated[bool, "Whether a row is too noisy to tell."]
    rows: Annotated[list[BenchRow], "An index with an algorithm and a k each."]
    frontier: Annotated[Frontier | None, "With --frontier: how each row was asked."]


class CompareResult(TypedDict):
    """``compare``. The results are those of results.json: docs/compare.md."""

    output: Output
    report: Annotated[str, "The page that shows the results."]
    steps_done: Annotated[dict[str, int], "Kind of step -> how many were done."]
    steps_kept: Annotated[dict[str, int], "Kind of step -> how many had been done before."]
    comparison: Annotated[Results, "Everything that was found."]


class Term(TypedDict):
    """One term of an explanation."""

    index: Annotated[str, "Its path."]
    doc_id: Annotated[str, "Of the document."]
    term: Annotated[str, "As in the vocabulary."]
    weight: Annotated[int, "In the query."]
    impact: Annotated[int, "In the document."]
    score: Annotated[int, "Weight x impact."]


class BeirResults(TypedDict):
    """``beir``."""

    output: Output
    table: Annotated[str, "The tables, as Markdown."]
    latex: Annotated[str, "The tables, as LaTeX."]
    steps_done: Annotated[dict[str, int], "Kind of step -> how many were done now."]
    steps_kept: Annotated[dict[str, int], "Kind of step -> how many had been done before."]
    evaluations: Annotated[list[BeirResult], "One a data set and model."]
    tables: Annotated[list[BeirTable], "One a measure, with what others have published."]


class ExplainedAgainst(TypedDict):
    """The same in another index."""

    index: Annotated[str, "Its path."]
    score: Annotated[float | None, "Sum over the terms; null where it has no such document."]
    terms: Annotated[list[Added], "Of the query, the largest share first."]


class ExplainResult(TypedDict):
    """``explain``."""

    query_id: Annotated[str, "Of the query."]
    doc_id: Annotated[str, "Of the document."]
    score: Annotated[int, "Sum over the terms."]
    terms: Annotated[list[Term], "Of the query, the largest share first."]
    against: Annotated[list[ExplainedAgainst], "One an index of --against."]
    output: Annotated[str | None, "The page that was written; null if none was asked for."]


class ServeResult(TypedDict):
    """``serve``, once it answers."""

    address: Annotated[str, "Of the page and the API."]
    indexes: Annotated[list[Index], "What is served."]


class TextTerm(TypedDict):
    """A term of ``terms``."""

    term: Annotated[str, "As it stands in the vocabulary."]
    word: Annotated[str, "To be read: without marks, but ## before a piece of a word."]
    weight: Annotated[float, "A whole number of what is quantized."]
    original: Annotated[bool | None, "Whether the text holds it; null where a vector is shown."]
    piece: Annotated[bool, "Whether it goes on with a word."]


class TermsResult(TypedDict):
    """``terms``."""

    source: Annotated[str, "The checkpoint or the vectors, as given."]
    text: Annotated[str | None, "What the checkpoint encoded."]
    id: Annotated[str | None, "Of the vector."]
    count: Annotated[int, "Terms of the text, those not shown included."]
    bag: Annotated[list[TextTerm], "The heaviest first, equal ones by their strings."]


class InspectResult(TypedDict):
    """``inspect``. What an artefact does not have, or was not read for, is null or empty."""

    path: Annotated[str, "As it was given."]
    kind: Annotated[
        str,
        "vectors, shard, export, index, dense-index, model, bm25, unfinished, comparison, lucene, "
        "forward, pisa-canonical, checkpoint, ciff, jsonvector, run, qrels, topics, texts, "
        "address.",
    ]
    what: Annotated[str, "The same in words."]
    reason: Annotated[str, "How it was recognised."]
    ours: Annotated[bool, "Whether splade-bridge made it."]
    bytes: Annotated[int | None, "Of all its files; of an address what its engine says."]
    engine: Annotated[AnyEngine | None, "Of an index of ours or of an address, the one it is in."]
    manifest: Annotated[
        Manifest | None, "Of what is ours; all of the files that it names are whole."
    ]
    counts: Annotated[Counts | None, "Of what was read; with --quick what the manifest says."]
    distinct_terms: Annotated[int | None, "Terms with a posting."]
    content: Annotated[ContentHash | None, "The content hash: docs/formats.md."]
    numbers: Annotated[Literal["impacts", "weights", "frequencies"] | None, "What the values are."]
    scale: Annotated[Scale | None, "What weights were multiplied with."]
    values: Annotated[Distribution | None, "Of the values of all postings."]
    lengths: Annotated[Distribution | None, "Of the postings a document, empty ones too."]
    longest: Annotated[list[LongList], "The longest posting lists."]
    expansion: Annotated[Expansion | None, "Terms that the texts lack."]
    facts: Annotated[dict[str, Any], "What only this kind of thing has, by name."]
    faults: Annotated[list[Fault], "What a reader would refuse or misread."]
    unknown: Annotated[list[str], "What cannot be told, and why."]


class MergeResult(TypedDict):
    """``merge``."""

    output: Output
    counts: CountsOf
    encoding: Encoding


class PruneResult(TypedDict):
    """``prune``."""

    output: Output
    pruning: Annotated[list[dict[str, Any]], "The steps of this call, in order: docs/pruning.md."]
    counts: CountsOf


class QuantizeStudyResult(TypedDict):
    """``quantize-study``."""

    output: MaybeOutput
    documents: Annotated[int, "Of the store."]
    postings: Annotated[int, "Of the documents, as floats."]
    queries: QueryCount
    without_results: WithoutResults
    k: Annotated[int, "Depth of the rankings."]
    persistence: Annotated[float, "The p of RBO."]
    ndcg: Annotated[float | None, "nDCG@10 of the float weights; null without judgements."]
    settings: Annotated[list[Setting], "What was tried."]
    recommended: Annotated[Setting | None, "One of them; null where none qualifies."]
    reason: Annotated[str, "Why, in a sentence."]


class Bm25Result(TypedDict):
    """``bm25``."""

    output: Output
    counts: CountsOf
    vocabulary: Annotated[VocabularyInfo, "The terms that were seen."]
    average_length: Annotated[float, "Tokens a document."]
    queries: Annotated[int | None, "Queries that were asked; null where none were given."]
    results: Annotated[int | None, "Documents found, over all queries; null without queries."]
    without_results: WithoutResults


class DoctorResult(TypedDict):
    """``doctor``."""

    findings: Annotated[list[Finding], "What was looked for."]


class PagesResult(TypedDict):
    """``help``."""

    pages: Annotated[dict[str, str], "Title by name."]


class PageResult(TypedDict):
    """``help PAGE``."""

    page: Annotated[str, "As it was asked for."]
    text: Annotated[str, "Markdown."]


class DemoEngine(TypedDict):
    """One engine of the demo."""

    engine: Annotated[AnyEngine, "Its name."]
    source: Annotated[str, "What its index was built from."]
    bytes: Annotated[int, "Of the index."]
    mean_ms: Annotated[float, "Milliseconds a query."]
    measures: Measures


class DemoSample(TypedDict):
    """One question of the demo."""

    query: Annotated[str, "Its text."]
    doc_id: Annotated[str, "The first document that was found."]


class DemoStep(TypedDict):
    """One command of the demo."""

    command: Annotated[str, "What was run."]
    seconds: Seconds


class DemoResult(TypedDict):
    """``demo``."""

    output: Output
    documents: Annotated[int, "Of the collection."]
    queries: QueryCount
    engines: Annotated[list[DemoEngine], "Those that are installed."]
    samples: Annotated[list[DemoSample], "Some questions and answers."]
    skipped: Annotated[dict[str, str], "Engine -> why it was left out."]
    seconds: Seconds
    commands: Annotated[list[DemoStep], "What was run, in order."]


class TrainResult(TypedDict):
    """``train recipe``."""

    output: Output
    steps: Annotated[int, "Done in all."]
    best_step: Annotated[int, "Of the model that was written."]
    resumed_from: Annotated[int | None, "Step that the run went on from; null for a new one."]
    figures: Annotated[dict[str, float], "Last values of the log; eval_... are the best step's."]
    seconds: Seconds


class TrainListResult(TypedDict):
    """``train --list``."""

    recipes: Annotated[dict[str, str], "Name -> title."]


class MineResult(TypedDict):
    """``train mine``."""

    output: Output
    queries: Annotated[int, "With a positive, all of which have a line."]
    negatives: Annotated[int, "In all lines."]
    without_positive: Annotated[int, "Queries that no judgement names; they have no line."]
    without_text: Annotated[int, "Judged queries without text; they have no line."]
    without_negatives: Annotated[list[str], "Ids of queries whose line has none."]
    short: Annotated[int, "Queries with fewer negatives than asked for."]
    judged: Annotated[int, "Candidates that were judged above 0."]
    too_close: Annotated[int, "Candidates that scored above the margin."]
    unknown_positive: Annotated[list[str], "Ids of queries none of whose positives has a score."]


class ScoreResult(TypedDict):
    """``train score``."""

    output: Output
    queries: Annotated[int, "Lines."]
    pairs: Annotated[int, "With a score."]
    missing: Annotated[int, "Pairs without one, where that is allowed."]
    missing_examples: Annotated[list[str], "Some of these, as query and document."]
    parts_kept: Annotated[int, "Of an earlier, interrupted call."]


class MlmResult(TypedDict):
    """``train mlm``."""

    output: Output
    steps: Annotated[int, "Updates."]
    texts: Annotated[int, "That were read."]
    tokens: Annotated[int, "Of these, without special ones."]
    blocks: Annotated[int, "That they make."]
    vocabulary: Annotated[int, "Terms of the tokenizer."]
    parameters: Annotated[int, "Of the network."]
    resumed_from: Annotated[int | None, "Step that the run went on from; null for a new one."]
    last: Annotated[dict[str, float], "What was logged last."]


class ErrorContent(TypedDict):
    """What went wrong."""

    message: Annotated[str, "What, where, and what to do."]
    type: Annotated[str, "Its class in splade_bridge.errors, as BadInputError."]
    exit_code: Annotated[int, "Of the command."]
    place: Annotated[str | None, "File, or file:line, of bad input."]


class Error(TypedDict):
    """Any command that fails, as the last line of stderr."""

    error: Annotated[ErrorContent, "What went wrong."]


RESULTS: dict[str, Any] = {
    "encode": EncodeResult,
    "export": ExportResult,
    "export-model": ExportModelResult,
    "convert": ConvertResult,
    "index": IndexResult,
    "delete": DeleteResult,
    "search": SearchResult,
    "search WORDS": ReadResult,
    "fuse": FuseResult,
    "rerank": RerankResult,
    "evaluate": EvaluateResult,
    "verify": VerifyResult,
    "verify --probe": ProbeResult,
    "bench": BenchResult,
    "compare": CompareResult,
    "beir": BeirResults,
    "explain": ExplainResult,
    "terms": TermsResult,
    "serve": ServeResult,
    "inspect": InspectResult,
    "merge": MergeResult,
    "prune": PruneResult,
    "quantize-study": QuantizeStudyResult,
    "bm25": Bm25Result,
    "dense": DenseResult,
    "doctor": DoctorResult,
    "demo": DemoResult,
    "help": PagesResult,
    "help PAGE": PageResult,
    "train recipe": TrainResult,
    "train --list": TrainListResult,
    "train mine": MineResult,
    "train score": ScoreResult,
    "train mlm": MlmResult,
}
"""What a command prints on stdout."""

MEANINGS = {
    "algorithm": "Of the engine's.",
    "bytes": "Size on disk.",
    "cases": "What was measured.",
    "clip": "What impacts were cut to.",
    "clipped": "Impacts that were cut.",
    "collection": "Name of the collection.",
    "confidence": "Of intervals and tests.",
    "count": "How often it is there.",
    "depth": "Documents a query that were evaluated.",
    "difference": "Of the means.",
    "doc_id": "Of the document.",
    "documents": "Rows.",
    "dropped_to_zero": "Weights that became 0 and were dropped.",
    "dtype": "Of the network.",
    "empty": "Rows without a posting.",
    "empty_ids": "The first ids of empty rows.",
    "encoding": "The model, and how it was run, as far as known.",
    "engine": "Of the index.",
    "fault": "What is wrong, in words.",
    "files": "All files, relative to the folder.",
    "first": "Name of the one.",
    "impact": "In the document; null where the index has no such document.",
    "index": "Its path.",
    "indexes": "One an engine.",
    "judged": "Queries that count in the means.",
    "k": "Documents a query.",
    "ks": "Documents a query that were timed.",
    "latencies": "What was timed.",
    "least": "The smallest.",
    "link": "Where the source says so.",
    "losses": "Queries for which the second is worse.",
    "max_impact": "The largest.",
    "max_length": "Tokens of a text that were read.",
    "mean": "Over the queries.",
    "mean_first": "Of the one.",
    "mean_second": "Of the other.",
    "model": "Name or folder.",
    "most": "The largest.",
    "name": "Of it.",
    "observed": "Whether it is only what was seen, and not a model's.",
    "p25": "25th percentile.",
    "p50": "Median.",
    "p75": "75th percentile.",
    "p95": "95th percentile.",
    "p99": "99th percentile.",
    "path": "Relative to the folder.",
    "per_query": "Measure -> query id -> value.",
    "pooling": "Over the positions of a text.",
    "published": "What others report of it.",
    "quantization": "How weights became impacts, as far as known, and what that lost.",
    "queries": "How many.",
    "query_id": "Of the query.",
    "rbo": "Rank-biased overlap.",
    "remedy": "What to do about it.",
    "repeat": "How often each was timed.",
    "revision": "Commit of a hub model.",
    "rounding": "To the nearest (half to even) or down.",
    "scale": "Impact = weight x scale, rounded.",
    "second": "Name of the other.",
    "seconds": "By step.",
    "sessions": "In which latencies were measured.",
    "sha256": "Hash of the content.",
    "side": "Of the model.",
    "size": "Terms.",
    "started": "When.",
    "term": "As in the vocabulary.",
    "threads": "Of queries_per_second.",
    "ties": "Queries for which both are equal.",
    "timing": "What was measured.",
    "title": "Of the comparison.",
    "tools": "Name -> version of what made it.",
    "value": "Of the measure.",
    "variants": "All of them.",
    "version": "Of the manifest's format.",
    "versions": "Of what ran.",
    "vocabulary": "Of the model, or of the terms that were seen.",
    "weight": "In the query.",
}
"""What keys of objects inside mean, where their class does not say it."""
