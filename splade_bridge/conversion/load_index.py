"""From any source of vectors into an index that an engine holds itself, by its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from splade_bridge.conversion.detect import SourceOptions, path_opener, weight_opener
from splade_bridge.data.ids import quoted
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.registry import check_approximate, connect
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.errors import MismatchError, UsageError
from splade_bridge.files.address import Address, Place, paths
from splade_bridge.files.finished import fingerprints
from splade_bridge.formats.base import ImpactSource, Watch, WeightSource, watched
from splade_bridge.text.corpora import read_texts


def load_index(
    source: Place,
    address: Address,
    options: LoadOptions = LoadOptions(),
    *,
    read_as: SourceOptions = SourceOptions(),
    quantize: QuantizeOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    with_contents: str | None = None,
    watch: Watch | None = None,
) -> Manifest:
    """Load ``source`` into a new index at ``address``, and check that it holds all of it.

    Args:
        source, quantize: see :func:`.detect.open_source`.
        read_as: how ``source`` is read.
        memory: budget in bytes of reading the source.
        with_contents: the corpus that was encoded, in the same order; its texts are stored in the
            field ``text``.
        watch: wraps the stream of batches of each pass, for a progress bar.

    Raises:
        BadInputError, ExternalProgramError, MismatchError, ServerError, UsageError: see
            :func:`splade_bridge.engines.remote.load.load`.
        MissingToolError: the client of the engine is not installed.
    """
    opened: Callable[[], ImpactSource | WeightSource]
    if options.keep_weights:
        if quantize is not None:
            raise UsageError("--keep-weights and --scale, --rounding or --clip: one or the other")
        opened = weight_opener(source, read_as, memory=memory)
    else:
        opened = path_opener(source, read_as, quantize=quantize, memory=memory)
    plan = {
        **({"weights": True} if options.keep_weights else {}),
        "files": list(fingerprints(paths([source])).values()),
        "quantize": asdict(quantize) if quantize else None,
        "contents": with_contents,
    }
    texts = None if with_contents is None else Texts(with_contents)
    check_approximate(address.scheme, options.made.own, allowed=options.approximate)
    with connect(address) as index:
        return load(index, lambda: watched(opened(), watch), options, texts=texts, plan=plan)


def creation(address: Address, options: LoadOptions) -> dict[str, Any]:
    """What would make the index at ``address``, as its engine takes it; nothing is made.

    Raises:
        MissingToolError, ServerError: see :func:`.registry.connect`.
        UsageError: see :func:`.registry.check_approximate`.
    """
    check_approximate(address.scheme, options.made.own, allowed=options.approximate)
    with connect(address) as index:
        index.use(options.made)
        return index.creation(options.made)


class Texts:
    """The texts of a corpus that comes in the order of the vectors."""

    def __init__(self, corpus: str) -> None:
        self._corpus = corpus
        self._texts = iter(read_texts(corpus))

    def __call__(self, ids: Sequence[str]) -> list[Mapping[str, str]]:
        """Those of the documents that come next.

        Raises:
            MismatchError: the corpus has another document there, or ends.
        """
        return list(self._next(ids))

    def _next(self, ids: Sequence[str]) -> Iterator[Mapping[str, str]]:
        found = list(islice(self._texts, len(ids)))
        for doc_id, text in zip(ids, found, strict=False):
            if doc_id != text.id:
                raise MismatchError(
                    f"{self._corpus}: has document {quoted(text.id)} where the vectors have "
                    f"{quoted(doc_id)}: give the corpus that was encoded"
                )
            yield {"text": text.text}
        if len(found) < len(ids):
            raise MismatchError(
                f"{self._corpus}: ends before document {quoted(ids[len(found)])}: give the corpus "
                "that was encoded"
            )
