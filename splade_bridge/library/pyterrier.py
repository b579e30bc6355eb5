"""PyTerrier transformers: the encoder, and retrieval from an open index.

::

    import pyterrier as pt
    from splade_bridge.library.pyterrier import SparseEncoder, SparseRetriever

    pipeline = SparseEncoder(model, side="query") >> SparseRetriever(index, k=100)

Vectors travel between transformers in the columns that PyTerrier's sparse indexers use: ``toks`` of
documents and ``query_toks`` of queries, ``{term: weight}`` in floats. Nothing here starts a JVM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, cast

from splade_bridge.data.choices import Side, check_choice
from splade_bridge.data.vector_set import vectors_of
from splade_bridge.encoding.choices import EncodeChoices, Pooling
from splade_bridge.errors import MissingToolError
from splade_bridge.library.given import model_choices
from splade_bridge.library.indexes import OpenIndex, open_impacts
from splade_bridge.library.keywords import Choosing, Opening, Place, takes
from splade_bridge.library.search_run import SearchRun
from splade_bridge.text.corpora import Text

try:
    import pyterrier as pt
except ImportError:
    raise MissingToolError("PyTerrier is not installed: pip install python-terrier") from None

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {"document": ("docno", "text", "toks"), "query": ("qid", "query", "query_toks")}
"""Id, text and vector, by side."""


class SparseEncoder(pt.Transformer):  # type: ignore[misc]
    """Adds vectors: ``query_toks`` from ``query``, or ``toks`` from ``text``.

    Args:
        model: checkpoint, a folder or a hub name.
        side: ``query`` or ``document``.
        max_length: tokens of a text that are read.
        devices: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        pooling: over positions: ``max``, ``sum`` or ``last``; None for what the model was saved
            with.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see
            :func:`splade_bridge.open_index`.

    Raises:
        BadInputError: no such model.
        UsageError: an unknown side, device or pooling, or what does not fit together.
    """

    @takes(Choosing)
    def __init__(
        self,
        model: Place,
        *,
        side: str = "query",
        max_length: int = 256,
        devices: str = "auto",
        pooling: str | None = None,
        **choosing: Unpack[Choosing],
    ) -> None:
        from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

        check_choice("side", side, Side)
        self.side = cast(Side, side)
        choices = EncodeChoices(
            side=self.side,
            max_length=max_length,
            pooling=cast("Pooling | None", pooling),
            checkpoint=model_choices(choosing),
        )
        options = EncodeOptions(
            max_length=max_length,
            pooling=choices.pooling,
            device=devices,
            checkpoint=choices.checkpoint,
        )
        self._encoder = load_encoder(str(model), self.side, options)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """``inp`` with a column of vectors; equal texts are encoded once.

        Raises:
            BadInputError: a text whose weights are not finite.
        """
        key, field, column = COLUMNS[self.side]
        pt.validate.columns(inp, includes=[key, field], context=self)
        distinct = list(dict.fromkeys(inp[field]))
        texts = [Text(str(i), text, f"{field} {i + 1}") for i, text in enumerate(distinct)]
        vocabulary = self._encoder.loaded.vocabulary
        found = {
            distinct[int(number)]: vector
            for batch in self._encoder.encode(texts)
            for number, vector in vectors_of(batch, vocabulary)
        }
        return inp.assign(**{column: [found[text] for text in inp[field]]})


class SparseRetriever(pt.Transformer):  # type: ignore[misc]
    """Ranks documents for ``query_toks``, or for ``query`` where the index has a model.

    Args:
        index: an open index, which stays open; or a path, opened now and closed with
            :meth:`close`.
        k: documents a query.
        algorithm: see :meth:`OpenIndex.search`.
        threads: queries that are searched at a time.
        open_options: of :func:`open_index`, for a path.

    Raises:
        BadInputError, MissingToolError: see :func:`open_index`.
    """

    def __init__(
        self,
        index: Place | OpenIndex,
        *,
        k: int = 1000,
        algorithm: str | None = None,
        threads: int = 1,
        **open_options: Unpack[Opening],
    ) -> None:
        self._owned = not isinstance(index, OpenIndex)
        self.index = index if isinstance(index, OpenIndex) else open_impacts(index, **open_options)
        self.k = k
        self.algorithm = algorithm
        self.threads = threads

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """``qid``, ``docno``, ``score`` and ``rank`` (from 0), and what ``inp`` said of the query.

        Raises:
            BadInputError, MismatchError, UsageError, ExternalProgramError: as
                :meth:`OpenIndex.search`.
        """
        with pt.validate.any(inp, context=self) as either:
            either.columns(includes=["qid", "query_toks"], mode="vectors")
            either.columns(includes=["qid", "query"], mode="text")
        columns = [c for c in inp.columns if c in pt.model.query_columns(inp)]
        asked = inp[columns].astype({"qid": str}).drop_duplicates("qid")
        content = "query_toks" if "query_toks" in columns else "query"
        run = SearchRun()
        if len(asked):  # PyTerrier asks with an empty frame what comes out
            run = self.index.search(
                dict(zip(asked["qid"], asked[content], strict=True)),
                k=self.k,
                algorithm=self.algorithm,
                threads=self.threads,
            )
        return run.to_pandas().merge(asked, on="qid", how="left")

    def close(self) -> None:
        """Close the index, if it was opened here."""
        if self._owned:
            self.index.close()
