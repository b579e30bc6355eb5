"""What naver's trainings note of a model: how its logits are pooled, and what encodes queries.

A training writes its Hydra configuration into its folder as ``config.yaml``, and the network into
``model/`` below that. What is published is the network's folder, with or without that file. Obeyed
are the keys that say what becomes of a text (https://github.com/naver/splade, ``conf/`` and
``splade/models``; SPLADE v1 pools by ``sum``):

=============================  ====================================================
``config.matching_type``       ``splade``, or ``splade_doc`` for documents alone
``config.max_length``          tokens of a text that are read
``init_dict.agg``              ``max`` or ``sum``
``init_dict.model_type_or_dir_q``  a query encoder of its own, where it is not null
=============================  ====================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from splade_bridge.encoding.choices import Pooling
from splade_bridge.encoding.snapshot import NAVERS
from splade_bridge.errors import BadInputError
from splade_bridge.files.inputs import check_file
from splade_bridge.files.typed import Where, as_table, value_of

MODEL = "model"
"""The folder of the network, in that of a training."""
MARK = b"matching_type"
"""What no other tool's ``config.yaml`` holds."""
MOST = 1 << 20
"""Bytes of a configuration."""
PICKLED = "model.tar"
Aggregation = Literal["max", "sum"]


@dataclass(frozen=True)
class Noted:
    """What a configuration says.

    Attributes:
        where: it stands, for messages.
        pooling: over positions.
        documents_only: whether queries are their tokens, with weight 1.
        query_encoder: whether queries have a network of their own.
        max_length: tokens of a text that are read; None where nothing is said.
    """

    where: Where
    pooling: Pooling
    documents_only: bool
    query_encoder: bool
    max_length: int | None


def noted_by_naver(network: Path) -> Noted | None:
    """What is noted of the network in a folder; None where no such file is there.

    Raises:
        BadInputError: the file is damaged, or says what cannot be obeyed.
    """
    here = network.absolute()
    for file in (network / NAVERS, *([here.parent / NAVERS] if here.name == MODEL else [])):
        if file.is_file() and MARK in (content := _content(file)):
            return _noted(content, Where(str(file)))
    return None


def model_inputs(place: Path) -> list[Path]:
    """A model's folder or file, and what lies outside of it and decides what it says.

    Raises:
        BadInputError: see :func:`noted_by_naver`.
    """
    noted = noted_by_naver(place) if place.is_dir() else None
    file = Path(noted.where.file) if noted else place
    return [place] if file.is_relative_to(place) else [place, file]


def refuse_pickled(folder: Path) -> None:
    """Raise BadInputError for a training whose network is in a pickle of its state alone."""
    for file in (folder / MODEL / PICKLED, folder / PICKLED):
        if file.is_file():
            raise BadInputError(
                "is the pickled state of a training, which is not read: load it where it was made, "
                "and save network and tokenizer with save_pretrained into model/",
                str(file),
            )


def _content(file: Path) -> bytes:
    check_file(file)
    try:
        with open(file, "rb") as stream:
            content = stream.read(MOST + 1)
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", str(file)) from error
    return content if len(content) <= MOST else b""


def _noted(content: bytes, where: Where) -> Noted:
    saved = as_table(_tree(content, where), where)
    config, init = (_inside(saved, key, where) for key in ("config", "init_dict"))
    of_config, of_init = where.inside("config"), where.inside("init_dict")
    kind = value_of(config, "matching_type", str, of_config)
    if kind not in ("splade", "splade_doc"):
        what = "a model of dense vectors" if kind.startswith("siamese") else "a kind of model"
        of_config.inside("matching_type").fail(
            f"is {kind!r}, {what} that gives no weights here: known are splade and splade_doc"
        )
    documents_only = kind == "splade_doc"
    usual: Aggregation = "sum" if documents_only else "max"  # as naver's classes have it
    pooling: Aggregation = value_of(init, "agg", Aggregation, of_init, usual)
    length = value_of(config, "max_length", int | None, of_config, None)
    if length is not None and length < 1:
        of_config.inside("max_length").fail(f"must be 1 or more, not {length}")
    other = value_of(init, "model_type_or_dir_q", str | None, of_init, None)
    return Noted(where, pooling, documents_only, other is not None, length)


def _inside(saved: dict[str, Any], key: str, where: Where) -> dict[str, Any]:
    """A table of the file; an empty one where it is not there."""
    return as_table(saved.get(key) or {}, where.inside(key))


def _tree(content: bytes, where: Where) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where.fail(f"not YAML ({(str(error).splitlines() or ['damaged'])[0]})")
