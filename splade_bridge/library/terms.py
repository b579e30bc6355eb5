"""The terms of a text in one call."""

from __future__ import annotations

from typing import Unpack, cast

from splade_bridge.data.choices import Side, check_choice
from splade_bridge.errors import UsageError
from splade_bridge.files.checks import unchecked
from splade_bridge.library.given import model_choices, place
from splade_bridge.library.keywords import Choosing, Place, takes
from splade_bridge.library.shown import TermList
from splade_bridge.retrieval.terms import terms_of_id, terms_of_text


@takes(Choosing)
def terms(
    source: Place,
    text: str | None = None,
    *,
    id: str | None = None,
    side: str = "document",
    max_length: int = 256,
    top: int | None = None,
    no_check: bool = False,
    **choosing: Unpack[Choosing],
) -> TermList:
    """The terms of a text with their weights: those that it holds, and those a model has added.

    Args:
        source: a checkpoint, a folder or a hub name, with a ``text``; or with an ``id`` vectors: a
            vector store, an index, an export, CIFF, JSON lines, an address.
        text: what the checkpoint encodes.
        id: which of the vectors.
        side: ``document`` or ``query``, of a text.
        max_length: of a text, in tokens.
        top: only so many of the heaviest; None for all.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see
            :func:`open_index`.
        no_check: see :func:`index`.

    Returns:
        ``term`` as the vocabulary has it, ``word`` to be read, ``weight``, ``original`` (whether
        the text holds it; None of vectors) and ``piece`` (whether it goes on with a word) of each,
        the heaviest first. A notebook shows them as bars.

    Raises:
        BadInputError: no such model or source, or none of this id.
        UsageError: both of ``text`` and ``id``, or neither; or an option that cannot be meant.
    """
    if (text is None) == (id is None):
        raise UsageError("a text, which a checkpoint encodes, or an id, of vectors: give one")
    if top is not None and top < 1:
        raise UsageError(f"top must be 1 or more, not {top}")
    check_choice("side", side, Side)
    checkpoint = model_choices(choosing)
    if text is not None:
        found = terms_of_text(
            str(source), text, cast(Side, side), max_length=max_length, checkpoint=checkpoint
        )
    else:
        assert id is not None
        with unchecked(no_check):
            found = terms_of_id(place(source), id)
    return TermList(found[:top])
