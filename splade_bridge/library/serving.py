"""The page and its API, served from Python."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from splade_bridge.data.choices import check_threads
from splade_bridge.data.closing import Closing
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.errors import UsageError, require
from splade_bridge.files.address import Address
from splade_bridge.files.checks import unchecked
from splade_bridge.library import given
from splade_bridge.library.keywords import AskingAny, Opening, Place, Quantizing, part, takes
from splade_bridge.server.answers import Index
from splade_bridge.server.choices import DEFAULT_MEASURE, LOCAL, PORT, is_local
from splade_bridge.server.opening import ServeOptions, opened
from splade_bridge.text.corpora import CorpusOptions

if TYPE_CHECKING:
    from splade_bridge.server.listening import InThread

log = logging.getLogger(__name__)


class Serving(Closing):
    """Indexes that are served by a thread of this process; made by :func:`serve`.

    A context manager: what is served ends with it.

    Attributes:
        address: of the page and the API.
        indexes: what is served, as ``/indexes`` tells it.
    """

    def __init__(
        self, address: str, indexes: list[Index], thread: InThread, opened: contextlib.ExitStack
    ) -> None:
        self.address, self.indexes = address, indexes
        self._thread, self._opened = thread, opened

    def wait(self) -> None:
        """Until it is closed, or by Ctrl-C (KeyboardInterrupt)."""
        self._thread.wait()

    def close(self) -> None:
        """Answer no more, and close the indexes."""
        self._opened.close()


@takes(AskingAny)
def serve(
    indexes: Place | Iterable[Place],
    *,
    model: Place | Iterable[Place],
    corpus: Place | None = None,
    queries: Place | None = None,
    qrels: Place | None = None,
    split: str | None = None,
    measure: str = DEFAULT_MEASURE,
    host: str = LOCAL,
    port: int = PORT,
    threads: int = 4,
    id_field: str | None = None,
    text_field: str | None = None,
    title_field: str = "title",
    skip_others: bool = False,
    **asking: Unpack[AskingAny],
) -> Serving:
    """Serve the page to search and compare indexes, and its API, by a thread: docs/serve.md.

    Args:
        indexes: folder or address of one or more.
        model: checkpoint that encodes queries, or ``bm25``: one for all indexes, or one for each.
        corpus: texts of the documents, whatever :func:`encode` takes as a path; None for those
            that an index stores.
        queries: of text, judged by ``qrels``, to pick from: a path or an ir_datasets id.
        qrels: judgements of ``queries``: a path.
        split: of a BEIR folder, the judgements in ``qrels/SPLIT.tsv``; None for test.
        measure: of the rankings of judged queries.
        host: address to listen at; ``0.0.0.0`` lets others in.
        port: 0 takes any that is free.
        threads: requests that are answered at a time.
        id_field, text_field, title_field, skip_others: of ``corpus``; see :func:`encode`.
        max_length, allow_mismatch, scale, rounding, clip: see :func:`open_index`.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see there, too.
        memory, field, vocabulary, no_check: see :func:`open_index`, too.

    Returns:
        what is served, with its ``address``; ``close()`` ends it, ``wait()`` waits for Ctrl-C.

    Raises:
        BadInputError: an index, a model, the corpus, queries or judgements cannot be read.
        MismatchError: an index and its model do not belong together.
        UsageError: no such address to listen at, another number of models than of indexes, or
            options that cannot be meant.
        MissingToolError: the extra ``serve``, or what an index needs, is not installed.
    """
    require("serve", "serve")
    check_threads(threads)
    from splade_bridge.server.app import application
    from splade_bridge.server.listening import InThread, address_of, listening, names_of

    places = [given.place(place) for place in given.several(indexes)]
    how = given.asking(part(Opening, asking))
    if how != Asking() and not any(isinstance(place, Address) for place in places):
        raise UsageError(
            "field and vocabulary are for addresses, and there is none: leave them out"
        )
    memory = asking["memory"]
    options = ServeOptions(
        tuple(map(str, given.several(model))),
        None if corpus is None else str(corpus),
        CorpusOptions(id_field, text_field, title_field, skip_others),
        None if queries is None else str(queries),
        None if qrels is None else Path(qrels),
        split,
        measure,
        asking["max_length"],
        given.quantize_options(**part(Quantizing, asking)),
        given.model_choices(asking),
        how,
        None if memory is None else given.size(memory),
        asking["allow_mismatch"],
    )
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(host, port))
        address = address_of(listener, host)
        with unchecked(asking["no_check"]):
            served = stack.enter_context(opened(places, options))
        if not is_local(host):
            log.warning("whoever reaches %s can search and read what is served", address)
        app = application(served, threads, names_of(host))
        thread = stack.enter_context(InThread(app, listener))
        return Serving(address, served.indexes().indexes, thread, stack.pop_all())
