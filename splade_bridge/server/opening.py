"""From flags to what is served: indexes, models, texts and judged queries, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.base import limit_memory
from splade_bridge.engines.registry import open_indexes
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.files.address import Place
from splade_bridge.retrieval.document_texts import opened_texts
from splade_bridge.retrieval.encode_queries import query_texts
from splade_bridge.retrieval.systems import System
from splade_bridge.retrieval.words import Words, words_of
from splade_bridge.server.choices import DEFAULT_MEASURE
from splade_bridge.server.judged import JudgedQueries
from splade_bridge.server.served import Served, labels_of
from splade_bridge.text.corpora import CorpusOptions


@dataclass(frozen=True)
class ServeOptions:
    """One to one with the flags of ``splade-bridge serve``.

    Attributes:
        models: one for all indexes, or one for each in their order; ``bm25`` is Lucene's analyzer.
        corpus: the documents' texts; None for those that the indexes store.
        texts: how corpus is read.
        queries, qrels: of judged queries; both or none.
        split: of a BEIR folder.
        measure: of their rankings.
        memory: bytes of the heap of the JVM that a Lucene index is open in.
    """

    models: tuple[str, ...]
    corpus: str | None = None
    texts: CorpusOptions = CorpusOptions()
    queries: str | None = None
    qrels: Path | None = None
    split: str | None = None
    measure: str = DEFAULT_MEASURE
    max_length: int = 256
    quantize: QuantizeOptions | None = None
    checkpoint: ModelChoices = ModelChoices()
    asking: Asking = Asking()
    memory: int | None = None
    allow_mismatch: bool = False

    def __post_init__(self) -> None:
        if (self.queries is None) != (self.qrels is None):
            raise UsageError("--queries and --qrels belong together: give both, or none")


@contextlib.contextmanager
def opened(places: Sequence[Place], options: ServeOptions) -> Iterator[Served]:
    """All that is served; it is closed at the end.

    Raises:
        UsageError: another number of models than of indexes, or options that cannot be meant.
        BadInputError: an index, a model, the corpus, queries or judgements cannot be read.
        MismatchError: an index and its model do not belong together.
        MissingToolError: what is needed is not installed.
    """
    if len(options.models) not in (1, len(places)):
        raise UsageError(
            f"{len(options.models)} models for {len(places)} indexes: give --model once for all, "
            "or once for each, in their order"
        )
    models = options.models * (len(places) if len(options.models) == 1 else 1)
    with contextlib.ExitStack() as stack:
        searchers = [stack.enter_context(s) for s in open_indexes(places, options.asking)]
        limit_memory(searchers, options.memory)
        judged = None
        if options.queries is not None and options.qrels is not None:
            asked = query_texts(options.queries)
            qrels = read_qrels(options.qrels, split=options.split)
        words: dict[str, Words] = {}
        systems = []
        for searcher, model, label in zip(searchers, models, labels_of(places), strict=True):
            if model not in words:
                words[model] = words_of(
                    model, options.quantize, options.max_length, options.checkpoint
                )
            systems.append(
                System(searcher, words[model], label, allow_mismatch=options.allow_mismatch)
            )
        if options.queries is not None:
            judged = JudgedQueries(asked, qrels, options.measure, systems)
            if not judged.texts:
                raise BadInputError(
                    f"none of its {len(qrels):,} judged queries is in {options.queries}",
                    str(options.qrels),
                )
        searched = [system.searcher for system in systems]
        texts = stack.enter_context(opened_texts(options.corpus, options.texts, searched))
        yield stack.enter_context(Served(systems, texts, judged))
