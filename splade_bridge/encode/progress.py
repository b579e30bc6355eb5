"""A progress bar on stderr: texts, texts and tokens a second, time to go."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from splade_bridge.corpora import JSON_SUFFIXES, TSV_SUFFIXES, Role
from splade_bridge.encode.encoder import Progress as Callback
from splade_bridge.files import COMPRESSED, numbered_lines, plain_suffix


def known_count(source: str, role: Role) -> int | None:
    """Texts of ``source`` where counting lines tells: one file of JSON lines or TSV, or BEIR's.

    None also where no bar would be shown.
    """
    if not sys.stderr.isatty():
        return None
    path = Path(source)
    stem = "corpus" if role == "documents" else "queries"
    beir = (path / f"{stem}.jsonl{suffix}" for suffix in ("", *COMPRESSED))
    file = next((f for f in (path, *beir) if f.is_file()), None)
    if file is None or plain_suffix(file) not in (*JSON_SUFFIXES, *TSV_SUFFIXES):
        return None
    return sum(1 for _, line in numbered_lines(file) if line.strip())


@contextlib.contextmanager
def progress_bar(total: int | None = None, *, shown: bool | None = None) -> Iterator[Callback]:
    """A callback for an encoder's progress.

    Args:
        total: texts to come, where that is known.
        shown: None for "if stderr is a terminal".
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda texts, tokens: None
        return
    bar = Progress(
        TextColumn("encoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("encoding", total=total, rates="")
        began, done, tokens_done = time.perf_counter(), 0, 0

        def advance(texts: int, tokens: int) -> None:
            nonlocal done, tokens_done
            if tokens or done:  # texts of a resumed run come first, without tokens
                done, tokens_done = done + texts, tokens_done + tokens
            seconds = max(time.perf_counter() - began, 1e-9)
            rates = f"{done / seconds:,.1f} texts/s {tokens_done / seconds:,.0f} tokens/s"
            bar.update(task, advance=texts, rates=rates)

        yield advance
