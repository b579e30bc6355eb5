"""Making an index of dense vectors, and an open one that answers queries."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np

from splade_bridge.data.choices import Side
from splade_bridge.data.closing import Closing
from splade_bridge.data.ids import checked_id
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vector_set import MEMORY
from splade_bridge.embeddings.choices import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_M,
    IndexKind,
    Similarity,
)
from splade_bridge.embeddings.index import DenseIndex
from splade_bridge.embeddings.vectors import DenseBatch
from splade_bridge.encoding.choices import DenseChoices
from splade_bridge.encoding.dense_corpus import dense_corpus
from splade_bridge.encoding.encode_corpus import role_of
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.checks import unchecked
from splade_bridge.library.given import (
    corpus_options,
    is_place,
    items_of,
    model_choices,
    output_path,
    prompt_choices,
    run_file,
    size,
)
from splade_bridge.library.keywords import Opening, Place, PromptingTexts, Running, takes
from splade_bridge.library.search_run import SearchRun, search_options
from splade_bridge.library.shown import HitList
from splade_bridge.retrieval.dense_queries import (
    DenseQueries,
    DenseQueryEncoder,
    load_dense_queries,
)
from splade_bridge.retrieval.dense_search import ranked_densely, search_dense_to_run
from splade_bridge.retrieval.encode_queries import query_texts
from splade_bridge.retrieval.search import Beside, SearchOptions
from splade_bridge.text.corpora import texts_in_memory

ONLY = "query"
"""The id of a query that is asked alone."""


@takes(PromptingTexts)
def dense(
    texts: Any,
    *,
    model: Place,
    output: Place,
    index_kind: str = "flat",
    hnsw_m: int = DEFAULT_M,
    hnsw_ef_construction: int = DEFAULT_EF_CONSTRUCTION,
    side: str = "document",
    similarity: str | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    device: str = "auto",
    threads: int | None = None,
    memory: int | str = DEFAULT_MEMORY,
    **reading: Unpack[PromptingTexts],
) -> Manifest:
    """Turn text into dense vectors, and index them.

    Args:
        texts: a path or an ir_datasets id; an iterable of ``(id, text)``, of records or of strings
            (named ``"0"``, ``"1"`` ...); a mapping from id to text; a DataFrame with ``docno`` and
            ``text``, or ``qid`` and ``query``.
        model: of sentence-transformers, a folder or a hub name.
        output: folder of the index; a call that was stopped goes on when it is made again with the
            same texts.
        index_kind: ``flat``, which is exact, or ``hnsw``, an approximate graph held in memory.
        hnsw_m: links of a vector in a graph.
        hnsw_ef_construction: candidates from which these are chosen.
        side: ``document`` or ``query``.
        similarity: ``cosine`` or ``dot``; None for what was saved with the model, else cosine.
        max_length: tokens of a text that are read; None for the model's own limit.
        batch_size: texts that are computed at once.
        device: ``auto`` is a GPU, or the CPU; ``cpu``; ``cuda``; ``cuda:1``.
        threads: on a CPU; None leaves torch its own choice, and builds a graph by one.
        memory: budget of parts in the making and of a graph, in bytes or as ``"500M"``, ``"2G"``.
        part_rows: texts of a part: what a kill loses.
        revision, prompt, prompt_name, trust_remote_code: see :func:`open_index`.
        id_field, text_field, title_field: of records, where they have not the usual names.
        skip_others: leave out files of a folder that hold no texts; else they are an error.
        split: of the queries of a BEIR folder those that ``qrels/SPLIT.tsv`` judges; None for all.
        overwrite: replace an index at ``output``.

    Returns:
        The manifest of the index: documents, model, dimension and similarity.

    Raises:
        BadInputError: a bad text, an id that comes twice, no texts, or no such model.
        UsageError: an option that cannot be meant, or ``output`` exists.
        MissingToolError: sentence-transformers, faiss or a device is missing.
        ExternalProgramError: ``output`` cannot be written.
    """
    choices = DenseChoices(
        side=cast(Side, side),
        max_length=max_length,
        similarity=cast("Similarity | None", similarity),
        index_kind=cast(IndexKind, index_kind),
        hnsw_m=hnsw_m,
        hnsw_ef_construction=hnsw_ef_construction,
        batch_size=batch_size,
        device=device,
        threads=threads,
        memory=size(memory),
        part_rows=reading["part_rows"],
        checkpoint=prompt_choices(reading),
    )
    fields = corpus_options(reading)
    given: Any = texts
    if is_place(texts):
        given = str(texts)
    elif fields.split is not None:
        raise UsageError("split is of the queries of a BEIR folder: name its path")
    else:
        given = texts_in_memory(items_of(texts), role_of(choices.side), fields)
    return dense_corpus(
        given,
        output_path(output),
        str(model),
        choices,
        fields=fields,
        overwrite=reading["overwrite"],
    )[0]


class OpenDenseIndex(Closing):
    """An index of dense vectors that is open; made by :func:`open_index`. A context manager.

    Several threads may search it at a time; text queries are encoded one after the other.

    Attributes:
        path: of the index.
        manifest: provenance and counts.
        index: dimension, similarity and kind.
    """

    def __init__(
        self,
        index: DenseIndex,
        encoder: DenseQueryEncoder | None = None,
        *,
        split: str | None = None,
        allow_mismatch: bool = False,
    ) -> None:
        self.index = index
        self.path: Path = index.path
        self.manifest: Manifest = index.manifest
        self._encoder = encoder
        self._split = split
        self._allow_mismatch = allow_mismatch

    def queries(self, given: Any) -> DenseQueries:
        """Queries of any kind that :meth:`search` takes, read or encoded."""
        found = self._queries(given)
        return DenseQueries(found.path, found.batch, found.encoding, self._allow_mismatch)

    def _queries(self, given: Any) -> DenseQueries:
        if isinstance(given, DenseQueries):
            return given
        if is_place(given):
            if self._encoder is None:
                return load_dense_queries(str(given), self.index)
            return self._encoder(query_texts(str(given), self._split), Path(given))
        stream = iter(items_of(given))
        first = next(stream, None)
        if first is None:
            raise BadInputError("holds no queries", str(MEMORY))
        items = chain([first], stream)
        if isinstance(first, tuple | list) and len(first) == 2 and not isinstance(first[1], str):
            return DenseQueries(MEMORY, _vectors(items))
        texts = list(texts_in_memory(items, "queries"))
        if self._encoder is None:
            raise UsageError("these queries are text: name a model, or give vectors")
        return self._encoder(texts, MEMORY)

    @takes(Running)
    def search(
        self,
        queries: Any,
        *,
        ef_search: int | None = None,
        **running: Unpack[Running],
    ) -> SearchRun:
        """The ``k`` nearest documents of every query, those of equal scores by id ascending.

        Args:
            queries: a path; an iterable of ``(id, vector)`` or, with a model, of ``(id, text)``,
                records or strings (named ``"0"``, ``"1"`` ...); a mapping from id to either; a
                DataFrame with ``qid`` and ``query``.
            k: documents a query.
            threads: that compare at a time.
            ef_search: of a graph: candidates of a query; None for 128, or k where that is more.
            remove_query, max_passage, output, output_format, tag, overwrite: see
                :meth:`OpenIndex.search`.

        Raises:
            BadInputError: broken queries.
            MismatchError: vectors of another dimension or model.
            UsageError: text without a model, or ``output`` exists.
        """
        options = search_options(running, ef_search=ef_search)
        out = run_file(running["output"], overwrite=running["overwrite"])
        run = SearchRun()
        run.summary = search_dense_to_run(
            self.index, self.queries(queries), out, options, Beside(watch=run.filled_by)
        )
        return run

    def search_one(
        self, query: Any, *, k: int = 10, ef_search: int | None = None
    ) -> HitList[float]:
        """The ``k`` nearest documents of one query, as ``(document id, score)``.

        Args:
            query: a vector, or text where the index was opened with a model.
            k: documents at most.
            ef_search: see :meth:`search`.

        Raises:
            BadInputError, MismatchError, UsageError: as :meth:`search`.
        """
        asked = self.queries([(ONLY, query)])
        (hits,) = ranked_densely(self.index, asked, SearchOptions(k=k), ef_search=ef_search)
        return HitList(zip(hits.doc_ids, hits.scores.tolist(), strict=True))

    def close(self) -> None:
        """Let the files go."""
        self.index.close()


def open_dense(index: Place, opening: Opening) -> OpenDenseIndex:
    """An index of dense vectors; see :func:`open_index`."""
    model = opening["model"]
    with unchecked(opening["no_check"]):
        opened = DenseIndex(Path(index))
    try:
        encoder = None
        if model is not None:
            encoder = DenseQueryEncoder(
                str(model), opened.similarity, opening["max_length"], model_choices(opening)
            )
    except BaseException:
        opened.close()
        raise
    return OpenDenseIndex(
        opened, encoder, split=opening["split"], allow_mismatch=opening["allow_mismatch"]
    )


def _vectors(items: Iterable[Any]) -> DenseBatch:
    """Pairs of id and vector.

    Raises:
        BadInputError: one is none, or of another length than the first.
    """
    ids: list[str] = []
    rows: list[Any] = []
    for number, item in enumerate(items, start=1):
        place = f"query {number}"
        try:
            query_id, vector = item
            row = np.asarray(vector, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"not (id, vector): {error}", place) from None
        if row.ndim != 1 or not len(row) or (rows and len(row) != len(rows[0])):
            raise BadInputError(f"a vector of shape {list(row.shape)}", place)
        ids.append(checked_id(query_id, place))
        rows.append(row)
    if len(set(ids)) < len(ids):
        raise BadInputError("an id comes twice", str(MEMORY))
    return DenseBatch(ids, np.array(rows, dtype=np.float32))
