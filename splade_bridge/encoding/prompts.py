"""What is put in front of every text, as sentence-transformers decides it.

Its SparseEncoder has prompts named query and document in every version from 5.0 on, blank where
nothing was saved, and ``encode_query`` and ``encode_document`` take these: a saved passage, corpus
or default prompt is applied by none of them, unless it is asked for by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from splade_bridge.data.ids import quoted
from splade_bridge.data.manifest import Side
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.errors import UsageError
from splade_bridge.files.typed import Where, value_of

log = logging.getLogger(__name__)

BLANK = {"query": "", "document": ""}
OTHER_NAMES = ("passage", "corpus")
"""Which sentence-transformers' dense encoders know for documents, too."""


def saved_prompts(saved: Mapping[str, object], where: Where) -> tuple[dict[str, str], str | None]:
    """The prompts of a ``config_sentence_transformers.json``, and the name of the default one.

    Raises:
        BadInputError: they are no texts, or the default is none of them.
    """
    found = value_of(saved, "prompts", dict[str, str | None] | None, where, None) or {}
    prompts = BLANK | {name: text or "" for name, text in found.items()}
    default = value_of(saved, "default_prompt_name", str | None, where, None)
    if default is not None and default not in prompts:
        where.inside("default_prompt_name").fail(
            f"there is no prompt {quoted(default)} (there are {', '.join(prompts)})"
        )
    return prompts, default


def prompt_of(
    prompts: Mapping[str, str], default: str | None, side: Side, asked: ModelChoices, model: str
) -> str:
    """What is put in front of the texts of ``side``.

    Args:
        prompts: by name, with those for query and document.
        default: name of one of them.
        asked: what was said of the prompt.
        model: for messages.

    Raises:
        UsageError: the name of a prompt that the checkpoint does not have.
    """
    if asked.prompt is not None:
        return asked.prompt
    if asked.prompt_name is not None:
        return named_prompt(prompts, asked.prompt_name, model)
    names = [default, *(OTHER_NAMES if side == "document" else ())]
    left = [name for name in names if name and name != side and prompts.get(name)]
    if left and not prompts[side]:
        log.warning(
            "%s: its prompt %s is not put in front of each %s, as it is not by "
            "sentence-transformers: --prompt-name %s does that",
            model, quoted(left[0]), side, left[0],
        )  # fmt: skip
    return prompts[side]


def named_prompt(prompts: Mapping[str, str], name: str, model: str) -> str:
    """The prompt that is asked for by its name.

    Raises:
        UsageError: there is none.
    """
    if name not in prompts:
        raise UsageError(
            f"--prompt-name {name}: {model} has no such prompt "
            f"({', '.join(map(quoted, prompts)) or 'none at all'})"
        )
    return prompts[name] or ""
