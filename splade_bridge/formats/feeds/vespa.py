"""Vespa's JSON feed: a tensor with one mapped dimension, a cell a term.

Cells stand in an object of that name: the shorter form without it would take a term that is called
``cells`` or ``values`` for something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import json_lines
from splade_bridge.formats.feeds.base import Cells, Feed, Row, Told, joined, pairs
from splade_bridge.formats.feeds.names import NOT_TEXT, Naming, vespa_label
from splade_bridge.formats.feeds.weights import SINGLE
from splade_bridge.formats.term_limits import Problem

PROFILE = "impacts"


class Vespa(Feed):
    """Documents with an id and a tensor of floats."""

    engine = "Vespa"
    naming: ClassVar[Naming] = "term"
    kept = SINGLE
    part = ("feed", ".jsonl")
    note = (
        "The files are as Vespa's documentation and its own parser of tensors have them; they were "
        f"never loaded into a server. The rank profile `{PROFILE}` scores every document by the "
        "sum of products, and leaves out those with 0. Vespa answers with 400 hits at most until "
        "`maxHits` and `maxOffset` of a query profile are raised."
    )

    @property
    def problem(self) -> Problem:
        """Control characters are no text to Vespa."""
        return vespa_label

    def check_id(self, doc_id: str) -> None:
        """Also what Vespa takes for no text."""
        super().check_id(doc_id)
        if NOT_TEXT.search(doc_id):
            raise BadInputError(
                f"document {quoted(doc_id)}: Vespa takes no id with a control character or a code "
                "point that is no character: rename it"
            )

    def document(self, doc_id: str, cells: Cells) -> bytes:
        """``{"put": "id:NAME:NAME::ID", "fields": ...}``."""
        return b'{"put":%b,"fields":{"id":%b,%b:{"cells":{%b}}}}\n' % (
            orjson.dumps(f"id:{self.index}:{self.index}::{doc_id}"),
            orjson.dumps(doc_id),
            orjson.dumps(self.field),
            joined(cells),
        )

    def query(self, cells: Cells, k: int) -> bytes:
        """The body of ``POST /search/``."""
        where = "true" if cells else "false"
        return (
            b'{"yql":%b,"ranking":"%b","hits":%d,"input.query(q)":{"cells":{%b}},'
            b'"presentation.summary":"ids"}'
            % (
                orjson.dumps(f"select id from {self.index} where {where}"),  # noqa: S608
                PROFILE.encode(),
                k,
                joined(cells),
            )
        )

    def settings(self) -> dict[str, bytes]:
        """The schema, for ``schemas/`` of an application package."""
        return {
            f"{self.index}.sd": f"""\
schema {self.index} {{
    document {self.index} {{
        field id type string {{
            indexing: summary
        }}
        field {self.field} type tensor<float>(term{{}}) {{
            indexing: attribute
        }}
    }}
    document-summary ids {{
        summary id {{}}
    }}
    rank-profile {PROFILE} {{
        inputs {{
            query(q) tensor<float>(term{{}})
        }}
        first-phase {{
            expression: sum(query(q) * attribute({self.field}))
            rank-score-drop-limit: 0
        }}
    }}
}}
""".encode()
        }

    def load(self, told: Told) -> str:
        """By the program vespa."""
        read = (
            f"gzip -dc {told.parts} | vespa feed -" if told.compressed
            else f"cat {told.parts} | vespa feed -"
        )  # fmt: skip
        return f"""\
Put `{self.index}.sd` into `schemas/` of your application package and deploy it; then

```sh
{read}
```

Loading a part again replaces its documents by themselves. Each line of `queries.ndjson` is
`{{"id": ..., "body": ...}}`, where `body` goes to `POST /search/`.
"""

    def rows(self, path: Path) -> Iterator[Row]:
        """Puts as they are written, and as ``vespa visit`` prints them."""
        for found, place in json_lines(path):
            name, fields = found.get("put", found.get("id")), found.get("fields")
            if not isinstance(name, str) or not isinstance(fields, dict):
                raise BadInputError('no {"put": ..., "fields": ...}', place)
            vector = fields.get(self.field)
            cells = vector.get("cells") if isinstance(vector, dict) else None
            yield fields.get("id", name.split("::", 1)[-1]), *pairs(cells, place), place
