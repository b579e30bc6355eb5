"""A side of a model as ml-commons, which runs models inside OpenSearch, registers it.

A network is TorchScript beside its tokenizer, ``SPARSE_ENCODING``; a side that only looks tokens up
is the tokenizer beside its table, ``SPARSE_TOKENIZE``. Either is one archive, which is uploaded in
chunks of at most :data:`CHUNK` bytes and compared with the SHA-256 in the configuration. The form
is that of opensearch-py-ml 1.3.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from splade_bridge.encoding.exports.exporting import Exporting, largest_difference, padded
from splade_bridge.encoding.exports.torch_script import plain_attention, write_ml_commons
from splade_bridge.errors import BadInputError
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.writing import sha256_file

ARCHIVE = "model.zip"
CONFIG = "ml-commons_model_config.json"
"""As opensearch-py-ml calls it."""
CHUNK = 10_000_000
VERSION = "1.0.0"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of all files in the archive. Its bytes may differ: torch numbers what it traces in a process."""


def export_opensearch(exporting: Exporting, folder: Path) -> float:
    """Write the archive and its configuration.

    Returns:
        The largest difference from ``encode``; 0 for a table.

    Raises:
        BadInputError: the model wants a prompt, which ml-commons does not put in front.
        CheckFailedError: what was traced gives other weights.
    """
    if exporting.loaded.prompt:
        raise BadInputError(
            f"the {exporting.sides[0]} side has the prompt {exporting.loaded.prompt!r}, and "
            "OpenSearch puts none in front of a text: its vectors would be others",
            exporting.loaded.model,
        )
    with scratch_folder(folder) as scratch:
        files = {"tokenizer.json": _tokenizer(exporting, scratch)}
        worst = 0.0
        if exporting.weights.network is None:
            function, about = "SPARSE_TOKENIZE", "tokens with their fixed weights"
            files["idf.json"] = _table(exporting, scratch / "idf.json")
        else:
            function, about = "SPARSE_ENCODING", "weights of terms"
            plain_attention(exporting.weights.network)
            script = scratch / "model.pt"
            weights = write_ml_commons(exporting.weights, script)
            files[script.name] = script
            worst = largest_difference(exporting.loaded, padded(weights), str(folder / ARCHIVE))
        archive = folder / ARCHIVE
        _archive(files, archive)
    config = {
        "name": Path(exporting.loaded.model).name + "-" + "-".join(exporting.sides),
        "version": VERSION,
        "description": f"SPLADE, {exporting.loaded.method}: {about} of "
        f"{' and '.join(exporting.sides)} texts of up to {exporting.loaded.max_length} tokens",
        "model_format": "TORCH_SCRIPT",
        "function_name": function,
        "model_content_size_in_bytes": archive.stat().st_size,
        "model_content_hash_value": sha256_file(archive),
        "total_chunks": math.ceil(archive.stat().st_size / CHUNK),
    }
    (folder / CONFIG).write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    return worst


def _tokenizer(exporting: Exporting, folder: Path) -> Path:
    """tokenizer.json that cuts texts itself: ml-commons gives them whole.

    It always adds special tokens, which count, and leaves them out of what a table gives.
    """
    backend = exporting.tokenizer.backend_tokenizer
    own = 0 if exporting.special else backend.num_special_tokens_to_add(False)
    backend.enable_truncation(exporting.loaded.max_length + own)
    backend.no_padding()
    file = folder / "tokenizer.json"
    file.write_text(backend.to_str(pretty=False), encoding="utf-8")
    return file


def _table(exporting: Exporting, file: Path) -> Path:
    """The weight of every token; one that the table lacks would count 1."""
    static = exporting.weights.static
    assert static is not None
    tokens = exporting.tokens()
    weights: dict[str, Any] = dict(zip(tokens, static.tolist(), strict=False))
    file.write_bytes(orjson.dumps(weights))
    return file


def _archive(files: Mapping[str, Path], out: Path) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(files.items()):
            with path.open("rb") as stream, archive.open(zipfile.ZipInfo(name, EPOCH), "w") as to:
                while block := stream.read(1 << 20):
                    to.write(block)
