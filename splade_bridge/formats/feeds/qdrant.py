"""Points for Qdrant, one a line: a UUID of the id, the vector, and the id as payload."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import orjson

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import json_lines
from splade_bridge.formats.feeds.base import Cells, Feed, Row, Told, pretty
from splade_bridge.formats.feeds.columns import column_lists, columns
from splade_bridge.formats.feeds.names import Naming
from splade_bridge.formats.feeds.weights import SINGLE

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "splade-bridge/document")
"""Of the UUIDs (version 5, RFC 9562) that stand for ids: Qdrant's own are numbers or UUIDs."""
PAYLOAD_ID = "id"
BEGUN = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)
VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def point_id(doc_id: str) -> str:
    """The id of the point of a document: ``str(uuid.uuid5(NAMESPACE, doc_id))``.

    Put together here, since each document of a load has one and :mod:`uuid` takes five times as
    long.
    """
    digest = BEGUN.copy()
    digest.update(doc_id.encode())
    digits = digest.hexdigest()
    variant = VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


class Qdrant(Feed):
    """A collection with one sparse vector, in float32."""

    engine = "Qdrant"
    naming: ClassVar[Naming] = "number"
    kept = SINGLE
    part = ("points", ".jsonl")
    most_hits = 1 << 31
    note = (
        "Dimensions are numbers, and `vocabulary.json` says of which terms. Qdrant's ids are "
        "numbers or UUIDs, so a point has the UUID of its document's id (version 5, in the "
        f"namespace {NAMESPACE}) and the id itself in its payload."
    )

    def key(self, doc_id: str) -> str:
        """The UUID."""
        return point_id(doc_id)

    def document(self, doc_id: str, cells: Cells) -> bytes:
        """A point of ``PUT /collections/NAME/points``."""
        return b'{"id":"%b","vector":{%b:%b},"payload":{"id":%b}}\n' % (
            point_id(doc_id).encode(),
            orjson.dumps(self.field),
            columns(cells),
            orjson.dumps(doc_id),
        )

    def query(self, cells: Cells, k: int) -> bytes:
        """The body of ``POST /collections/NAME/points/query``."""
        return b'{"query":%b,"using":%b,"limit":%d,"with_payload":true}' % (
            columns(cells),
            orjson.dumps(self.field),
            k,
        )

    def settings(self) -> dict[str, bytes]:
        """``collection.json``: float32 in the index, whatever a later default may be."""
        vector = {"index": {"datatype": "float32"}}
        return {"collection.json": pretty({"sparse_vectors": {self.field: vector}})}

    def load(self, told: Told) -> str:
        """By curl and jq, a block of points a request."""
        reader = "gzip -dc" if told.compressed else "cat"
        return f"""\
```sh
server=http://localhost:6333
curl -fsS -X PUT "$server/collections/{self.index}" -H 'Content-Type: application/json' \\
  --data-binary @collection.json
for part in {told.parts}; do
  {reader} "$part" | split -l 500 --filter='jq -s "{{points: .}}" |
    curl -fsS -X PUT "'$server'/collections/{self.index}/points?wait=true" \\
      -H "Content-Type: application/json" --data-binary @- >/dev/null' || exit 1
done
curl -fsS "$server/collections/{self.index}"
```

Loading a part again replaces its points by themselves. Each line of `queries.ndjson` is
`{{"id": ..., "body": ...}}`, where `body` goes to `POST /collections/{self.index}/points/query`.
"""

    def rows(self, path: Path) -> Iterator[Row]:
        """Points, as they are written and as a scroll returns them."""
        for found, place in json_lines(path):
            payload, vector = found.get("payload"), found.get("vector")
            if not isinstance(payload, dict) or PAYLOAD_ID not in payload:
                raise BadInputError("no id in its payload", place)
            if not isinstance(vector, dict) or self.field not in vector:
                raise BadInputError(f"no vector {self.field!r}", place)
            yield payload[PAYLOAD_ID], *column_lists(vector[self.field], place), place
