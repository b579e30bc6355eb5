"""Which files of a checkpoint decide its vectors: they are hashed, and the others are not.

Two hashes identify an encoder. One is over weights: of the network and of what it adapts, of heads
that lie beside it, of tables of token weights. The other is over all that says what becomes of
them: configuration, tokenizer, prompts, and code, where it is run. What describes a training, as
optimizer states, or the model, as README.md, decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from splade_bridge.encoding.adapters import adapter_chain, adapter_file, is_adapter
from splade_bridge.encoding.snapshot import SPARSE_LINEAR, settings_files, weight_files
from splade_bridge.errors import BadInputError
from splade_bridge.files.inside import inside
from splade_bridge.files.typed import Where, as_table, json_file, value_of

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def tokenizer_folder(network: Path) -> Path:
    """The folder whose tokenizer belongs to the network in ``network``: an adapter's base may."""
    chain = adapter_chain(network)
    return next((f for f in chain if any((f / n).is_file() for n in TOKENIZER_FILES)), network)


def network_weights(folder: Path) -> list[Path]:
    """The weight files of the network in ``folder``, adapters and their base included.

    Raises:
        BadInputError: there are none.
    """
    found = set[Path]()
    chain = adapter_chain(folder)
    for part in chain:
        if is_adapter(part):
            found.add(adapter_file(part))
        if (part / SPARSE_LINEAR).is_file():
            found.add(part / SPARSE_LINEAR)
    return sorted(found.union(whole_weights(chain[-1])))


def whole_weights(folder: Path) -> set[Path]:
    """The weight files of a network without its adapter, and what an index of them names.

    Raises:
        BadInputError: there are none.
    """
    listed = set(_listed(folder))
    try:
        return listed.union(weight_files(folder))
    except BadInputError:
        if not listed:
            raise
        return listed


def network_settings(folder: Path, *, code: bool) -> set[Path]:
    """Configuration and tokenizer files of the network in ``folder``.

    Args:
        code: count code that lies in it as well, because it is run.
    """
    found = set[Path]()
    for part in adapter_chain(folder):
        found.update(settings_files(part))
        if code:
            found.update(code_files(part))
    return found


def _listed(folder: Path) -> Iterator[Path]:
    """What an index of weights names, whatever it is called."""
    for name in INDEXES:
        where = Where(str(folder / name))
        if not (folder / name).is_file():
            continue
        listed = value_of(as_table(json_file(where), where), "weight_map", dict[str, str], where)
        for file in sorted(set(listed.values())):
            path = inside(folder, file, where.inside("weight_map"), links=True)
            if not path.is_file():
                raise BadInputError(f"{file}, which {name} names, is missing", str(folder))
            yield path
        return


def code_files(folder: Path) -> Iterator[Path]:
    """Code that lies in a checkpoint, and is run where that is allowed."""
    for file in folder.rglob("*.py"):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file
