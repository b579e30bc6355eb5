"""Shards of one encoding, made by as many machines, into the store that one would have made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import part_files
from splade_bridge.data.store import SHARD, kept_store, listed_parts, vocabulary_file
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.parts import CorpusEnd, PartStore, chained
from splade_bridge.encoding.shards import Shard
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.files.filesystem import link_or_copy
from splade_bridge.files.finished import tell
from splade_bridge.files.outputs import PLAN, has_plan, manifest_file, plan_file
from splade_bridge.files.typed import Where, as_table, checked, json_file, typed
from splade_bridge.files.writing import atomic_writer, staged_folder


def merge_shards(folders: Sequence[Path], out: Path, *, overwrite: bool = False) -> Manifest:
    """Put the parts of all shards together in ``out``.

    The result is byte for byte that of an encoding without shards. Parts are hard-linked where the
    file system allows, else copied; the shards stay as they are. What they were merged into already
    is left as it is.

    Raises:
        BadInputError: a folder is not a finished shard, or a file of it was changed.
        MismatchError: a shard is missing or there twice, or they are not of one encoding.
        UsageError: ``out`` exists and ``overwrite`` is not set.
        ExternalProgramError: ``out`` cannot be written.
    """
    shards = [_Finished(folder) for folder in folders]
    plan, end = _agreed(shards)
    listed = {f for s in shards for f in listed_parts(s.manifest)}
    if kept := kept_store(out, plan, overwrite=overwrite, parts=listed):
        tell(out)
        return kept
    with staged_folder(out, overwrite=overwrite, inputs=folders) as staging:
        for shard in shards:
            for file in listed_parts(shard.manifest):
                link_or_copy(shard.folder / file.path, staging / file.path)
        store = PartStore(staging, Vocabulary.load(vocabulary_file(shards[0].folder)))
        _check_chain(store, plan["part_rows"], end, out)
        with atomic_writer(staging / PLAN) as stream:
            stream.write(orjson.dumps(plan, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        encoding = shards[0].manifest.encoding
        assert encoding is not None
        return store.complete(encoding, {"corpus": plan["corpus"]}, end)


class _Finished:
    """A finished shard.

    Attributes:
        plan: without what says which shard it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if has_plan(folder) and not manifest_file(folder).is_file():
            raise BadInputError("not finished: run its encode command again", str(folder))
        self.manifest = Manifest.load(folder)
        if self.manifest.kind != SHARD or self.manifest.encoding is None:
            raise BadInputError(
                f"holds {self.manifest.kind}, not a shard (encode --shard i/n)", str(folder)
            )
        where = Where(str(plan_file(folder)), said="damaged ({}): encode it again")
        self.plan = as_table(json_file(where), where)
        name = checked(str, self.plan.pop("shard", None), where.inside("shard"))
        checked(int, self.plan.get("part_rows"), where.inside("part_rows"))
        checked(str, self.plan.get("corpus"), where.inside("corpus"))
        try:
            self.shard = Shard.parse(name)
        except UsageError as error:
            where.fail(str(error))
        where = replace(where, file=str(manifest_file(folder)), at="options.corpus_end")
        self.end = typed(CorpusEnd, self.manifest.options.get("corpus_end"), where)
        listed = {f.path for f in self.manifest.files}
        own = {vocabulary_file(folder).name, *(p.name for p in part_files(folder).values())}
        if foreign := listed - own:
            replace(where, at="files").fail(f"{min(foreign)} is no part of a shard")
        if extra := {p.name for p in part_files(folder).values()} - listed:
            raise BadInputError(f"{min(extra)} is not in its manifest", str(folder))


def _agreed(shards: Sequence[_Finished]) -> tuple[dict[str, Any], CorpusEnd]:
    """The plan and the corpus of all shards, which are complete."""
    first = shards[0]
    for other in shards[1:]:
        differing = sorted(
            k for k in {*first.plan, *other.plan} if first.plan.get(k) != other.plan.get(k)
        )
        if differing:
            raise MismatchError(
                f"{first.folder} and {other.folder} are not of one encoding: they differ in "
                f"{', '.join(differing)}"
            )
        if first.shard.count != other.shard.count:
            raise MismatchError(
                f"{first.folder} is shard {first.shard}, {other.folder} is {other.shard}"
            )
        if first.end != other.end:
            raise MismatchError(
                f"{first.folder} and {other.folder} read different texts "
                f"({first.end.texts:,} and {other.end.texts:,} texts): the corpus changed"
            )
    there: dict[int, Path] = {}
    for shard in shards:
        if (index := shard.shard.index) in there:
            raise MismatchError(f"{there[index]} and {shard.folder} are both shard {shard.shard}")
        there[index] = shard.folder
    lacking = (n for n in range(first.shard.count) if n not in there)
    if missing := list(islice(lacking, 11)):  # a damaged count may be any
        names = ", ".join(f"{n}/{first.shard.count}" for n in missing[:10])
        raise MismatchError(f"shards are missing: {names}{' ...' if missing[10:] else ''}")
    return first.plan, first.end


def _check_chain(store: PartStore, part_rows: int, end: CorpusEnd, out: Path) -> None:
    """Whether the parts are those of one corpus, in order, each once and all full but the last."""
    before, texts = "", 0
    for number, note in sorted(store.notes.items()):
        full = note.texts == part_rows or (number == end.parts - 1 and 0 < note.texts <= part_rows)
        if note.before != before or not full:
            raise MismatchError(f"{out}: part {number} does not follow on the one before it")
        before, texts = chained(before, note.digest), texts + note.texts
    if CorpusEnd(len(store.notes), texts, before) != end:
        raise MismatchError(f"{out}: parts of {texts:,} texts, but the corpus has {end.texts:,}")
