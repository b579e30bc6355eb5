"""The process that a native library lives in; started by splade_bridge/engines/library_process.py.

A library that aborts, panics or fills memory gets a process of its own: its death becomes an error
message in the parent, and its chatter goes to the log. Requests and answers are pickles on two
pipes whose numbers it is told, from and to our own parent only.

This file is run by its path, and loads by its path the file that knows the library, as
pisa_worker.py. Neither imports anything of ours, so the process needs no working directory on its
path, and it is the same in a checkout and in an installation.
"""

from __future__ import annotations

import importlib.util
import pickle
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np


class Answer(NamedTuple):
    """Documents of one query, best first; all that tie with the k-th are included.

    Attributes:
        documents: int64[n], by number.
        scores: n of them, as the library gives them.
        nanoseconds: that its retrieval took.
    """

    documents: np.ndarray
    scores: np.ndarray
    nanoseconds: int


NOTHING = Answer(np.empty(0, np.int64), np.empty(0, np.int64), 0)


def best(index: Any, k: int, *question: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """The fields of an :class:`Answer`: the k best, and every other that scores as the k-th.

    A library keeps any of those that tie at the end; asking for more until the last one scores
    below the k-th leaves no choice to it.

    Args:
        index: has ``documents`` that can be found, ``extra``, which is how many beyond k it is
            asked for at first, and ``retrieve(depth, *question)``, which gives documents and
            scores, best first.
    """
    depth = min(k + index.extra, index.documents)
    nanoseconds = 0
    while True:
        started = time.perf_counter_ns()
        documents, scores = index.retrieve(depth, *question)
        nanoseconds += time.perf_counter_ns() - started
        if len(scores) < depth or depth == index.documents or scores[-1] < scores[k - 1]:
            return documents, scores, nanoseconds
        depth = min(2 * depth, index.documents)


def loaded(path: Path) -> ModuleType:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Serve requests until their pipe ends.

    Arguments: the numbers of the pipes for requests and answers; the most seconds of a request, 0
    for any: a library may never come back from a damaged index, and SIGALRM, which nothing
    handles, ends the process also while it holds the GIL; the file whose ``Index`` is served, and
    what that is made of.
    """
    requests, answers = open(int(sys.argv[1]), "rb"), open(int(sys.argv[2]), "wb")  # noqa: SIM115
    patience = int(sys.argv[3])
    index = loaded(Path(sys.argv[4])).Index(*sys.argv[5:])
    while True:
        try:
            method, arguments = pickle.load(requests)  # noqa: S301 - of our parent
        except EOFError:
            return
        signal.alarm(patience)
        asked = partial(best, index) if method == "best" else getattr(index, method)
        result = asked(*arguments)
        signal.alarm(0)
        pickle.dump(result, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    main()
