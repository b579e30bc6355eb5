"""Loads what commands import, then forks one for each line of JSON on stdin: see ``processes``."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import signal
import sys
from collections.abc import Iterator
from typing import Any

import splade_bridge
from splade_bridge.errors import MissingToolError

LIGHT = ("pyarrow.parquet", "scipy.sparse")
HEAVY = ("torch", "transformers", "sentence_transformers")
OF_TORCH = ("splade_bridge.encoding", "splade_bridge.training")


def load(*, light: bool) -> None:
    """Import all that commands import, where it is installed."""
    for name in (*LIGHT, *(() if light else HEAVY)):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for module in pkgutil.walk_packages(splade_bridge.__path__, "splade_bridge."):
        if not module.name.endswith("__main__") and not (
            light and module.name.startswith(OF_TORCH)
        ):
            with contextlib.suppress(ImportError, MissingToolError):
                importlib.import_module(module.name)
    if light:
        return
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)  # a forked process cannot use the threads of its parent


def children() -> Iterator[dict[str, Any]]:
    """In each forked process, what it is to do; the parent stays inside and tells of them."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(0, file=answers, flush=True)
    asked = os.fdopen(os.dup(0), "rb", 0)
    while line := asked.readline():
        child = os.fork()
        if child == 0:
            os.setsid()
            print(os.getpid(), file=answers, flush=True)
            answers.close()
            asked.close()
            yield json.loads(line)
            return
        status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def become(asked: dict[str, Any]) -> None:
    """Take on what a command's process has of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for place, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(place, number)
    os.close(nothing)
    os.close(log)
    os.chdir(asked["work"])
    os.environ.update(asked["environment"])
    import tempfile

    tempfile.tempdir = None
    sys.argv = ["splade-bridge", *asked["arguments"]]
    if asked["largest_file"] is not None:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest_file"], most))


if __name__ == "__main__":
    load(light="light" in sys.argv)
    gc.collect()
    gc.freeze()  # else each collection in a forked process copies what it only looks at
    for asked in children():
        become(asked)
        runpy.run_module("splade_bridge", run_name="__main__")
