"""Rows for Milvus, one a line."""

from __future__ import annotations

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

MOST_ID = 65_535
"""Bytes of a VARCHAR of Milvus."""
EXACT = {"inverted_index_algo": "DAAT_MAXSCORE"}


class Milvus(Feed):
    """A collection with the id as VARCHAR and one sparse vector."""

    engine = "Milvus"
    naming: ClassVar[Naming] = "number"
    kept = SINGLE
    part = ("rows", ".jsonl")
    most_hits = 16_384
    note = (
        "Dimensions are numbers, and `vocabulary.json` says of which terms. Without "
        "`drop_ratio_search` the answers are exact. A negative weight would make every search "
        "find nothing; none is written. Milvus Lite cannot `upsert` an id with a single quote: use "
        "`insert` there, once."
    )

    def document(self, doc_id: str, cells: Cells) -> bytes:
        """A row with ``id`` and the vector."""
        field = orjson.dumps(self.field)
        return b'{"id":%b,%b:%b}\n' % (orjson.dumps(doc_id), field, columns(cells))

    def query(self, cells: Cells, k: int) -> bytes:
        """The body of ``POST /v2/vectordb/entities/search``."""
        return (
            b'{"collectionName":%b,"annsField":%b,"data":[%b],"limit":%d,"outputFields":["id"],'
            b'"searchParams":{"metricType":"IP","params":{}},"consistencyLevel":"Strong"}'
            % (orjson.dumps(self.index), orjson.dumps(self.field), columns(cells), k)
        )

    def settings(self) -> dict[str, bytes]:
        """``collection.json``: the body of ``POST /v2/vectordb/collections/create``."""
        fields = [
            {
                "fieldName": "id",
                "dataType": "VarChar",
                "isPrimary": True,
                "elementTypeParams": {"max_length": MOST_ID},
            },
            {"fieldName": self.field, "dataType": "SparseFloatVector"},
        ]
        made = {
            "collectionName": self.index,
            "schema": {"autoId": False, "enableDynamicField": False, "fields": fields},
            "indexParams": [
                {
                    "fieldName": self.field,
                    "indexName": self.field,
                    "metricType": "IP",
                    "params": {"index_type": "SPARSE_INVERTED_INDEX", **EXACT},
                }
            ],
        }
        return {"collection.json": pretty(made)}

    def load(self, told: Told) -> str:
        """By pymilvus, in blocks of 500 rows."""
        opened = "gzip.open" if told.compressed else "open"
        return f"""\
```python
import glob, gzip, itertools, json
from pymilvus import DataType, MilvusClient

client = MilvusClient("http://localhost:19530")
schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length={MOST_ID})
schema.add_field({self.field!r}, DataType.SPARSE_FLOAT_VECTOR)
index = client.prepare_index_params()
index.add_index({self.field!r}, index_type="SPARSE_INVERTED_INDEX", metric_type="IP",
                params={EXACT!r})
client.create_collection({self.index!r}, schema=schema, index_params=index)
for part in sorted(glob.glob({told.parts!r})):
    with {opened}(part, "rt", encoding="utf-8") as lines:
        while rows := [json.loads(line) for line in itertools.islice(lines, 500)]:
            for row in rows:
                vector = row[{self.field!r}]
                row[{self.field!r}] = dict(zip(vector["indices"], map(float, vector["values"])))
            client.upsert({self.index!r}, rows)
client.flush({self.index!r})
client.load_collection({self.index!r})
print(client.query({self.index!r}, output_fields=["count(*)"], consistency_level="Strong"))
```

Loading a part again replaces its rows by themselves. `collection.json` is the same collection for
`POST /v2/vectordb/collections/create`. Each line of `queries.ndjson` is
`{{"id": ..., "body": ...}}`, where `body` goes to `POST /v2/vectordb/entities/search`.
"""

    def rows(self, path: Path) -> Iterator[Row]:
        """Rows, with the vector as it is written here."""
        for found, place in json_lines(path):
            if "id" not in found or self.field not in found:
                raise BadInputError(f"no id, or no field {self.field!r}", place)
            yield found["id"], *column_lists(found[self.field], place), place
