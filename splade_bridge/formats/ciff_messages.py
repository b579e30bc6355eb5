"""The messages of CIFF, and how protobuf writes numbers and lengths."""

from __future__ import annotations

from functools import cache
from typing import Any, BinaryIO, NamedTuple

VERSION = 1
MAX_MESSAGE = 2**31 - 1
CUT = "the file ends inside it: it was cut off"
READ_AT_ONCE = 1 << 20


class Messages(NamedTuple):
    """The message classes, and one of our own: with many records, to parse them in one call."""

    Header: Any
    PostingsList: Any
    DocRecord: Any
    Records: Any


@cache
def messages() -> Messages:
    """The schema, under a package name of our own.

    Two modules that register ``io.osirrc.ciff`` in one process raise TypeError; the wire format
    carries no package name, so another one reads and writes the same bytes.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    schema: dict[str, list[tuple[str, int]]] = {
        "Header": [
            ("version", field.TYPE_INT32),
            ("num_postings_lists", field.TYPE_INT32),
            ("num_docs", field.TYPE_INT32),
            ("total_postings_lists", field.TYPE_INT32),
            ("total_docs", field.TYPE_INT32),
            ("total_terms_in_collection", field.TYPE_INT64),
            ("average_doclength", field.TYPE_DOUBLE),
            ("description", field.TYPE_STRING),
        ],
        "Posting": [("docid", field.TYPE_INT32), ("tf", field.TYPE_INT32)],
        "PostingsList": [
            ("term", field.TYPE_STRING),
            ("df", field.TYPE_INT64),
            ("cf", field.TYPE_INT64),
            ("postings", field.TYPE_MESSAGE),
        ],
        "DocRecord": [
            ("docid", field.TYPE_INT32),
            ("collection_docid", field.TYPE_STRING),
            ("doclength", field.TYPE_INT32),
        ],
        "Records": [("records", field.TYPE_MESSAGE)],
    }
    repeated = {"postings": "Posting", "records": "DocRecord"}
    package = "splade_bridge.ciff"
    file = descriptor_pb2.FileDescriptorProto(
        name="splade_bridge_ciff.proto", package=package, syntax="proto3"
    )
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields, start=1):
            added = message.field.add(
                name=field_name, number=number, type=kind, label=field.LABEL_OPTIONAL
            )
            if kind == field.TYPE_MESSAGE:
                added.label = field.LABEL_REPEATED
                added.type_name = f".{package}.{repeated[field_name]}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return Messages(
        *(
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in Messages._fields
        )
    )


def varint(value: int) -> bytes:
    """``value`` in base 128, low digits first (protobuf, "Encoding")."""
    if value < 1 << 14:
        return _SHORT[value]
    if value < 1 << 28:
        return _GOES_ON[value & (1 << 14) - 1] + _SHORT[value >> 14]
    return _GOES_ON[value & (1 << 14) - 1] + varint(value >> 14)


_SHORT = [bytes((v,)) if v < 128 else bytes((v & 127 | 128, v >> 7)) for v in range(1 << 14)]
"""The varints of one and two bytes; others begin with one of the next."""
_GOES_ON = [bytes((v & 127 | 128, v >> 7 | 128)) for v in range(1 << 14)]
FIELD_1 = b"\x0a"
"""Before the length of a message that is field 1 of another."""


def read_varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    value = shift = 0
    while at < len(content):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at


def write_message(out: BinaryIO, content: bytes) -> None:
    """``content`` behind its length."""
    out.write(varint(len(content)))
    out.write(content)
