"""Matrices, tensors, tables, PISA's files and documents of engines that are none, or damaged."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bad_input import Content, Row, made
from splade_bridge.formats.pisa import write_collection

IDS, TERMS = "d1\nd2\n", '["alpha", "beta"]'
BESIDE: Mapping[str, Content] = {"ids.txt": IDS, "terms.json": TERMS}


def npz(**changed: object) -> bytes:
    """Two documents of two terms, as scipy saves them; some arrays other, or None for missing."""
    arrays: dict[str, object] = {
        "format": np.array(b"csr"), "shape": np.array([2, 2]), "indptr": np.array([0, 1, 2]),
        "indices": np.array([0, 1]), "data": np.array([3, 4]), **changed,
    }  # fmt: skip
    out = io.BytesIO()
    np.savez(out, **{k: v for k, v in arrays.items() if v is not None})  # type: ignore[arg-type]
    return out.getvalue()


def safetensors(**changed: object) -> bytes:
    """The same as a dense tensor."""
    numbers = np.array([[3, 0], [0, 4]], "<f4").tobytes()
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, len(numbers)], **changed}
    header = json.dumps({"vectors": entry}).encode()
    return len(header).to_bytes(8, "little") + header + numbers


def parquet(**columns: list[object]) -> bytes:
    """A table."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


SOUND = parquet(id=["d1"], tokens=[["a"]], impacts=[[3]])


def canonical(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    """PISA's files, damaged."""

    def write(path: Path) -> None:
        write_collection(path, made.source(), 1 << 20)
        damage(path)

    return write


def index(
    title: str,
    name: str,
    content: Content,
    *words: str,
    beside: bool = False,
    flags: str = "",
    imports: tuple[str, ...] = (),
) -> Row:
    """A source that ``index`` refuses."""
    files = {name: content, **(BESIDE if beside else {})}
    return Row(title, f"index {name} -o out -e exact{flags}", 4, words, files, imports=imports)


EMPTY = [
    index(
        f"an empty folder as {kind}", "docs", made.folder, words, flags=f" --from {kind}",
    )
    for kind, words in {
        "npz": "docs: not one .npz file",
        "tensors": "docs: not one file of tensors with ids beside it",
        "hf": "docs: no Parquet or Arrow files",
        "pisa-canonical": "docs: not a collection of PISA's canonical files",
        "elasticsearch": "docs: no bulk-*.ndjson in this folder",
        "opensearch": "docs: no bulk-*.ndjson in this folder",
        "qdrant": "docs: no points-*.jsonl in this folder",
        "milvus": "docs: no rows-*.jsonl in this folder",
        "vespa": "docs: no feed-*.jsonl in this folder",
    }.items()
]  # fmt: skip

COMPRESSED = [
    index(
        f"{what} in {suffix}", f"{name}{suffix}", pack(content),
        f"{suffix} around it is not read", beside=True,
    )
    for what, name, content in (
        ("a matrix", "m.npz", npz()), ("tensors", "m.safetensors", safetensors()),
        ("tensors of torch", "m.pt", b"PK"), ("a table", "t.parquet", SOUND),
    )
    for suffix, pack in ((".gz", made.gz), (".zst", made.zst))
]  # fmt: skip

ROWS = [
    *EMPTY,
    *COMPRESSED,
    index("a matrix that is text", "m.npz", made.JSON_LINES, "m.npz: not an .npz file"),
    index("a matrix that is cut", "m.npz", made.cut(npz()), "m.npz: not an .npz file"),
    index("an empty matrix file", "m.npz", "", "m.npz: not an .npz file"),
    index("a matrix by columns", "m.npz", npz(format=np.array(b"csc")), "save it with tocsr()"),
    index("a matrix without ids", "m.npz", npz(), "no terms beside it", "--vocabulary"),
    index(
        "a matrix of pickled objects", "m.npz", npz(data=np.array([{}, {}], dtype=object)),
        "an array in it is of Python objects", beside=True,
    ),
    index(
        "a matrix with a weight below 0", "m.npz", npz(data=np.array([1.5, -2.0])),
        "a weight must be finite and above 0", beside=True, flags=" --scale 100",
    ),
    index(
        "a matrix of weights without a scale", "m.npz", npz(data=np.array([1.5, 2.0])),
        "holds float weights; give --scale", beside=True,
    ),
    index(
        "a matrix with more terms than names", "m.npz", npz(shape=np.array([2, 9])),
        "9 columns, but 2 terms", beside=True,
    ),
    Row(
        "two matrices in a folder", "index docs -o out -e exact --from npz", 4,
        ("docs: not one .npz file",), {"docs/a.npz": npz(), "docs/b.npz": npz()},
    ),
    index("tensors that are text", "m.safetensors", made.JSON_LINES, "not a safetensors file"),
    index(
        "tensors that are cut", "m.safetensors", safetensors()[:-4],
        "its numbers are not in the file: cut off?", beside=True,
    ),
    index(
        "tensors whose shape is another", "m.safetensors", safetensors(shape=[2, 3]),
        "16 bytes for the shape [2, 3]", beside=True,
    ),
    index("tensors of torch that are text", "m.pt", made.JSON_LINES, "not a file of torch.save",
          imports=("torch",)),
    index("tensors of torch that are cut", "m.pt", b"PK\3\4" * 9, "not a file of torch.save",
          imports=("torch",)),
    index("a checkpoint's weights as vectors", "model.safetensors",
          safetensors(shape=[4]), "neither the parts of a CSR or COO tensor", beside=True),
    index("a table that is text", "t.parquet", made.JSON_LINES, "t.parquet: not a table"),
    index("a table that is cut", "t.parquet", made.cut(SOUND), "t.parquet: not a table"),
    index("a table of Arrow that is text", "t.arrow", made.JSON_LINES, "t.arrow: not a table"),
    index(
        "a table of texts as vectors", "t.parquet", parquet(id=["d1"], text=["one"]),
        "no column of maps (vector, embedding, sparse)", "it has id, text",
    ),
    index(
        "a table without ids", "t.parquet", parquet(tokens=[["a"]], impacts=[[3]]), "no column id"
    ),
    index(
        "a table of term ids without a vocabulary", "t.parquet",
        parquet(id=["d1"], token_ids=[[1]], impacts=[[3]]), "name the --vocabulary",
    ),
    index(
        "a table with a term twice", "t.parquet",
        parquet(id=["d1"], tokens=[["a", "a"]], impacts=[[3, 4]]),
        "t.parquet: row 1: a term stands twice",
    ),
    index(
        "a table with an id twice", "t.parquet",
        parquet(id=["d1", "d1"], tokens=[["a"], ["b"]], impacts=[[3], [4]]),
        "t.parquet: row 2: id 'd1' was there before",
    ),
    index(
        "a table with lists of two lengths", "t.parquet",
        parquet(id=["d1"], tokens=[["a", "b"]], impacts=[[3]]), "are not of one length",
    ),
    index(
        "PISA's files without their lexicons", "pisa",
        canonical(lambda p: [(p / f"fwd.{n}").unlink() for n in ("termlex", "doclex")] and None),
        "pisa",
    ),
    index(
        "PISA's files with a cut list", "pisa",
        canonical(lambda p: (p / "inv.docs").write_bytes(made.cut((p / "inv.docs").read_bytes()))
                  and None),
        "inv.docs",
    ),
    index(
        "a bulk request that is cut", "bulk.ndjson", '{"index":{"_id":"d1"}}\n',
        "bulk.ndjson:1: the document of this action is missing", flags=" --from elasticsearch",
    ),
    index(
        "points of Qdrant without a vocabulary", "points.jsonl",
        '{"id":1,"payload":{"id":"d1"},"vector":{"vector":{"indices":[0],"values":[3]}}}\n',
        "points.jsonl: no vocabulary.json beside it", flags=" --from qdrant",
    ),
    index(
        "rows of Milvus that are texts", "rows.jsonl", '{"id":"d1","text":"one"}\n',
        "no vocabulary.json beside it", flags=" --from milvus",
    ),
    index(
        "a feed of Vespa that updates", "feed.jsonl", '{"update":"id:a:a::d1"}\n',
        'feed.jsonl:1: no {"put"', flags=" --from vespa",
    ),
    index(
        "bulk requests of floats without a scale", "bulk.ndjson",
        '{"index":{"_id":"d1"}}\n{"vector":{"a":1.5}}\n', "give --scale",
        flags=" --from elasticsearch",
    ),
    Row(
        "weights that an engine would cut", "convert v out --to elasticsearch", 4,
        ("keeps 9 significant bits of a weight", "--scale", "--allow-loss"), {"v": made.vectors},
    ),
    Row("a matrix that is looked at and is none", "inspect m.npz", 4, ("m.npz: not an .npz file",),
        {"m.npz": made.GARBAGE}),
    Row("tensors that are looked at and are none", "inspect m.safetensors", 4,
        ("m.safetensors: not a safetensors file",), {"m.safetensors": made.GARBAGE}),
    Row("a table that is looked at and is none", "inspect t.parquet --from hf", 4,
        ("t.parquet: not a table",), {"t.parquet": made.GARBAGE}),
]  # fmt: skip
