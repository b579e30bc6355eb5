"""What an index is that an engine holds itself: made, filled, searched, read back, by address.

An adapter speaks to one engine through its own client and says what it cannot hold; loading
(:mod:`.load`), searching and reading (:mod:`.index`) are the same for all.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from splade_bridge.data.closing import Closing
from splade_bridge.data.ids import check_size
from splade_bridge.data.vectors import ImpactBatch, Int32Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.choices import FieldType
from splade_bridge.engines.remote.faults import ServerError
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.files.inputs import all_files
from splade_bridge.formats.feeds.names import PROBLEMS, Names, Naming
from splade_bridge.formats.feeds.weights import Kept
from splade_bridge.formats.term_limits import Problem

Float64Array = npt.NDArray[np.float64]
FieldValue = str | int | float | bool
"""Of a stored field of a document; see :data:`.choices.FieldType`."""
Fields = Mapping[str, FieldValue]
"""Stored fields of a document; one that it lacks is not there."""


class Row(NamedTuple):
    """A document as an engine gives it back.

    Attributes:
        names: of the terms, as they are named there: strings, or numbers.
        weights: whole or fractions.
    """

    doc_id: str
    names: Sequence[str] | Sequence[int]
    weights: Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class RemoteOptions:
    """Of an index that is made.

    Attributes:
        shards, replicas: None for what the engine does by itself; engines without them refuse one.
        fields: names of stored texts of documents, beside their vectors; nothing searches them.
        own: what only this engine knows, by the names of its options in the registry.
        terms: how many there are, if that is known and will not grow; the loader says it.
        columns: names and types of further stored fields, which filters may ask for.
    """

    shards: int | None = None
    replicas: int | None = None
    fields: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)
    terms: int | None = None
    columns: Mapping[str, FieldType] = field(default_factory=dict)


class RemoteIndex(Closing, abc.ABC):
    """One index of one engine; the methods may be called from several threads at once.

    Every method raises :class:`Busy` where asking again may help, and :class:`ServerError` where
    it does not: no such host, no rights, no such index, a full disk. Messages hold no secrets.

    Args:
        address: of the index.
        secrets: what lets us in.

    Attributes:
        engine: for people.
        extra: of pyproject.toml, that brings its client.
        naming: of terms.
        kept: what it keeps of a weight.
        most_id_bytes: of an id at most.
        most_hits: that one request gives at most.
        pages: whether further hits come by further requests.
        block_rows, block_bytes: of documents that are written at once, at most.
        algorithm: how it finds the best documents, which is exact until :meth:`approximate`.
        in_process: its client is the engine and works while no other thread of Python does, so
            blocks that are written at the same time would only wait for each other.
        own_fields: names that it has for itself, so that no stored field may have them.
    """

    engine: ClassVar[str]
    extra: ClassVar[str]
    naming: Naming
    kept: ClassVar[Kept]
    most_id_bytes: ClassVar[int] = 32_766
    most_hits: ClassVar[int]
    pages: ClassVar[bool] = True
    block_rows: ClassVar[int] = 1000
    block_bytes: ClassVar[int] = 8 << 20
    algorithm: str = "exact"
    in_process: bool = False
    own_fields: ClassVar[tuple[str, ...]] = ("vector",)
    field: str = "vector"

    def __init__(self, address: Address, secrets: Secrets) -> None:
        self.address = address
        self.secrets = secrets

    @property
    def problem(self) -> Problem:
        """Which terms it cannot hold."""
        return PROBLEMS[self.naming]

    def key(self, doc_id: str) -> str:
        """What tells one document from another in the engine; no two may have the same."""
        return doc_id

    def check_id(self, doc_id: str) -> None:
        """Raise BadInputError for an id that the engine does not take."""
        check_size(doc_id, self.most_id_bytes, self.engine)

    def check_fields(self, made: RemoteOptions) -> None:
        """Raise BadInputError for a stored field of a name that the engine does not take."""
        for name in (*made.fields, *made.columns):
            if name in self.own_fields:
                raise BadInputError(
                    f"a stored field named {name!r}, which {self.engine} holds the "
                    f"{'vector' if name == self.field else 'id'} by: rename it",
                    str(self.address),
                )

    def filter_of(self, text: str) -> Any:
        """A filter as :meth:`top` takes it, from what a user has written: JSON of an object.

        Raises:
            UsageError: it is none.
        """
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise UsageError(f"--filter {text}: not JSON ({error}); {self._filters()}") from None
        if not isinstance(found, dict) or not found:
            raise UsageError(f"--filter {text}: not a JSON object; {self._filters()}")
        return found

    def _filters(self) -> str:
        return f"{self.engine} takes a query of its own as JSON"

    # Taken as it is

    def use(self, made: RemoteOptions) -> None:
        """Be as an index is that is made so, before anything else is asked of it."""

    def look(self, field: str | None = None) -> None:
        """Take the index that is there as it is: ours, or one that others made.

        Args:
            field: that holds the vectors, where there are several.

        Raises:
            BadInputError: it has no such field, or several and none is named.
        """
        if field not in (None, self.field):
            raise BadInputError(f"has no field {field!r}", str(self.address))

    # Made and thrown away

    @abc.abstractmethod
    def exists(self) -> bool:
        """Whether there is an index of this name."""

    @abc.abstractmethod
    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """What makes the index, as the engine takes it: what ``--dry-run`` prints."""

    @abc.abstractmethod
    def create(self, options: RemoteOptions, state: State) -> None:
        """Make the index, with every setting on which results depend, and keep ``state`` in it."""

    @abc.abstractmethod
    def drop(self) -> None:
        """Throw the index away, and what is kept beside it."""

    @abc.abstractmethod
    def state(self) -> State | None:
        """What is kept beside it; None for an index that others made."""

    @abc.abstractmethod
    def keep(self, state: State) -> None:
        """Replace what is kept beside it."""

    def keep_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Store the terms in the order of their ids, where :attr:`naming` is by number."""
        assert self.naming != "number"

    def vocabulary(self) -> Vocabulary | None:
        """The terms that queries may use; None where they are numbers and nothing beside says more.

        Where terms are names the engine has no list of them: the vocabulary is observed, empty,
        and grows by what is asked and read.
        """
        assert self.naming != "number"
        return Vocabulary(observed=True)

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Raise MismatchError for terms that the dimensions of others cannot stand for."""

    def approximate(self, own: Mapping[str, Any]) -> None:
        """Answer approximately from now on, with :attr:`algorithm` saying how.

        Args:
            own: what this engine was told; see :meth:`.choices.Approximation.own`.

        Raises:
            UsageError: it always answers exactly, or something that it needs is missing.
        """
        raise UsageError(
            f"{self.address}: {self.engine} has no approximate answers here: leave --approximate "
            "out"
        )

    def approximations(self) -> list[dict[str, Any]]:
        """What :meth:`approximate` may be given, from quick to thorough; to look for a trade."""
        return []

    # Filled

    @abc.abstractmethod
    def items(
        self, batch: ImpactBatch | SparseBatch, names: Names, fields: Sequence[Fields] | None
    ) -> Iterator[tuple[Any, int]]:
        """Each document of a batch as :meth:`write` takes it, and its size in bytes.

        Args:
            names: gives the names of term ids, as JSON.
            fields: what is stored of each document beside its vector.
        """

    @abc.abstractmethod
    def write(self, items: list[Any]) -> None:
        """Store documents; each replaces one of its id as a whole.

        Raises:
            Refused: for those that the engine does not take; the others are stored.
        """

    @abc.abstractmethod
    def finish(self, *, merge: bool) -> None:
        """After the last document: make all of them found; ``merge`` into one segment if asked."""

    def settle(self, *, merge: bool) -> None:
        """After a change of an index that is whole: make it found; settings stay as they are."""
        self.finish(merge=merge)

    @abc.abstractmethod
    def delete(self, doc_ids: Sequence[str]) -> int:
        """Remove documents; how many were there."""

    # Asked

    @abc.abstractmethod
    def count(self) -> int:
        """Documents that are there."""

    @abc.abstractmethod
    def rows(self) -> Iterator[Row]:
        """All documents, in any order, in bounded memory."""

    @abc.abstractmethod
    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """Those of these ids that are there."""

    @abc.abstractmethod
    def stored_text(self, doc_id: str, name: str) -> str | None:
        """A stored text of a document, of a field of :attr:`RemoteOptions.fields`.

        None where there is no such document.
        """

    @abc.abstractmethod
    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """The best ``n`` documents of a query, of scores above 0, by falling scores.

        Args:
            names: of the query's terms, one or more.
            only: a filter of the engine's own.

        Returns:
            ids and scores, in the measure of the impacts.
        """

    def told(self) -> dict[str, Any]:
        """Settings as the engine has them, on which results or memory depend.

        ``notes``, if there are any, say why its scores are no plain sums.
        """
        return {}

    def size(self) -> int | None:
        """Bytes that it takes, without copies of it in other nodes; None where that is not told."""
        folder = self.address.folder
        return None if folder is None else sum(p.stat().st_size for p in all_files(folder))

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """The index that an alias stands for; None where there is no such alias."""
        raise self._no_aliases()

    def point(self, alias: str) -> None:
        """Let an alias stand for this index, and for no other."""
        raise self._no_aliases()

    def _no_aliases(self) -> BadInputError:
        return BadInputError(f"{self.engine} has no aliases: leave --alias out", str(self.address))

    def encoded_by(self, model: str, texts: Sequence[str]) -> list[dict[str, float]]:
        """Weights of ``texts`` by the model that the engine itself runs under this id.

        Raises:
            UsageError: the engine runs none.
            ServerError: it has no such model, or cannot run it now.
            BadInputError: what it gives are no weights of terms.
        """
        raise UsageError(f"{self.address}: {self.engine} runs no models that encode text")

    def missing(self) -> ServerError:
        """For an index that is not there."""
        return ServerError(f"{self.address}: no such index in {self.engine}")

    def unreachable(self, why: object) -> ServerError:
        """For a server that does not answer."""
        return ServerError(
            f"{self.address.server}: {self.engine} cannot be reached "
            f"({self.secrets.hidden(str(why))}): does it run there?"
        )

    def untrusted(self, why: object) -> ServerError:
        """For a server that does not prove to be what it is called, or speaks no TLS."""
        return ServerError(
            f"{self.address.server}: no connection by TLS ({self.secrets.hidden(str(why))}): "
            "SPLADE_BRIDGE_CA names a file of the certificates to trust beside the system's"
        )
