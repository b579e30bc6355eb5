"""Bulk requests for Elasticsearch and OpenSearch, and the bodies of their searches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import json_lines
from splade_bridge.formats.feeds.base import Cells, Feed, Row, Told, joined, pairs, pretty
from splade_bridge.formats.feeds.names import Naming
from splade_bridge.formats.feeds.weights import FEATURE, halvings

NOTHING = b'{"match_none":{}}'
"""``bool`` without clauses matches everything, so a query without terms is this."""


class Bulk(Feed):
    """What the four have in common: ``POST /_bulk`` in blocks, one file a request."""

    kept = FEATURE
    part = ("bulk", ".ndjson")
    part_bytes = 8 << 20
    most_bytes = 100 << 20
    most_id_bytes = 512
    port: ClassVar[str] = "9200"
    type: ClassVar[str]

    def document(self, doc_id: str, cells: Cells) -> bytes:
        """``{"index":{"_id":...}}``, and the document on the next line."""
        field = orjson.dumps(self.field)
        return b'{"index":{"_id":%b}}\n{%b:{%b}}\n' % (orjson.dumps(doc_id), field, joined(cells))

    def query(self, cells: Cells, k: int) -> bytes:
        """A search that fetches ids alone."""
        found = self._matching(cells) if cells else NOTHING
        return b'{"size":%d,"_source":false,"track_total_hits":false,"query":%b}' % (k, found)

    def _matching(self, cells: Cells) -> bytes:
        raise NotImplementedError

    def settings(self) -> dict[str, bytes]:
        """``mapping.json``: the field, and no other that is not told."""
        return {"mapping.json": pretty(self._mapping())}

    def _mapping(self) -> dict[str, Any]:
        return {
            "mappings": {"dynamic": "strict", "properties": {self.field: {"type": self.type}}},
        }

    def load(self, told: Told) -> str:
        """By curl; a failing item comes back with status 200, so the answers are looked at."""
        encoding = "-H 'Content-Encoding: gzip' " if told.compressed else ""
        return f"""\
```sh
server=http://localhost:{self.port}
curl -fsS -X PUT "$server/{self.index}" -H 'Content-Type: application/json' \\
  --data-binary @{self._made_by()}
for part in {told.parts}; do
  curl -fsS "$server/{self.index}/_bulk?filter_path=errors,items.*.error" {encoding}\\
    -H 'Content-Type: application/x-ndjson' --data-binary "@$part" | grep -q '"errors":false' ||
    {{ echo "$part was not loaded whole" >&2; exit 1; }}
done
curl -fsS -X POST "$server/{self.index}/_refresh"
curl -fsS "$server/{self.index}/_count"
```

Loading a part again replaces its documents by themselves. Each line of `queries.ndjson` is
`{{"id": ..., "body": ...}}`, where `body` goes to `POST /{self.index}/_search`.
"""

    def _made_by(self) -> str:
        return "mapping.json"

    def rows(self, path: Path) -> Iterator[Row]:
        """Bulk requests, and the hits of a search or scroll, one a line."""
        doc_id: object = None
        waiting = ""
        for found, place in json_lines(path):
            if waiting:
                yield str(doc_id), *self._vector(found, place), waiting
                waiting = ""
            elif "_source" in found:
                yield found.get("_id"), *self._vector(found["_source"], place), place  # type: ignore[misc]
            else:
                action = found.get("index") or found.get("create")
                if not isinstance(action, dict) or not isinstance(action.get("_id"), str):
                    raise BadInputError(
                        'neither {"index": {"_id": ...}} nor a document with _id and _source', place
                    )
                doc_id, waiting = action["_id"], place
        if waiting:
            raise BadInputError("the document of this action is missing: cut off?", waiting)

    def _vector(self, source: Any, place: str) -> tuple[list[Any], list[Any]]:
        found = source.get(self.field) if isinstance(source, dict) else None
        if found is None:
            raise BadInputError(f"no field {quoted(self.field)}", place)
        return pairs(found, place)


class SparseVector(Bulk):
    """Elasticsearch's ``sparse_vector``, searched without its pruning."""

    engine = "Elasticsearch's sparse_vector"
    naming: ClassVar[Naming] = "term"
    type = "sparse_vector"
    note = (
        "Elasticsearch prunes the query by default and then answers otherwise; the bodies here say "
        '`"prune": false` and get every score. `mapping.json` is for Elasticsearch 8; with 9 use '
        "`mapping-9.json`, without which the vectors that it returns have 9 bits."
    )

    def settings(self) -> dict[str, bytes]:
        """Both mappings: Elasticsearch 8 does not know the setting that 9 needs."""
        nine = {"settings": {"index.mapping.exclude_source_vectors": False}, **self._mapping()}
        return {**super().settings(), "mapping-9.json": pretty(nine)}

    pruning: Mapping[str, float] | None = None
    """None for none, which is exact; else ``pruning_config``, empty for Elasticsearch's own."""

    def _matching(self, cells: Cells) -> bytes:
        how = b'"prune":false'
        if self.pruning is not None:
            how = b'"prune":true,"pruning_config":%b' % orjson.dumps(self.pruning)
            how = how if self.pruning else b'"prune":true'
        return b'{"sparse_vector":{"field":%b,"query_vector":{%b},%b}}' % (
            orjson.dumps(self.field), joined(cells), how,
        )  # fmt: skip


class RankFeatures(Bulk):
    """``rank_features``, with the linear function: a sum of products."""

    engine = "rank_features"
    naming: ClassVar[Naming] = "escaped"
    type = "rank_features"
    most_terms = 1024
    note = (
        "A dot in the name of a feature hides it from every query, so `.` is written as `%2E` and "
        "`%` as `%25`, in documents and queries. Without `linear` a saturation would be scored."
    )

    def _matching(self, cells: Cells) -> bytes:
        field = orjson.dumps(self.field)[1:-1]
        clauses = [
            b'{"rank_feature":{"field":"%b.%b,"boost":%b,"linear":{}}}' % (field, name[1:], weight)
            for name, weight in cells
        ]
        return b'{"bool":{"should":[%b]}}' % b",".join(clauses)


class NeuralSparse(Bulk):
    """OpenSearch's ``neural_sparse`` over ``rank_features`` whose names are the terms.

    So a model inside OpenSearch finds them too.
    """

    engine = "OpenSearch's neural_sparse"
    naming: ClassVar[Naming] = "term"
    type = "rank_features"
    most_terms = 1024
    note = (
        "`neural_sparse` needs the plugin neural-search, and takes weights of queries in (0, 64]. "
        "Names are the plain terms, which `rank_feature` queries do not find where they hold a dot."
    )

    def _matching(self, cells: Cells) -> bytes:
        return b'{"neural_sparse":{%b:{"query_tokens":{%b}}}}' % (
            orjson.dumps(self.field),
            joined(cells),
        )

    def halvings(self, largest: int) -> int:
        """Until the largest is 64 or less."""
        return halvings(largest)
