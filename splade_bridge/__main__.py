"""``python -m splade_bridge``, and the console script."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # -m puts the working directory there: a json.py that lies in it would be imported.
    del sys.path[0]


def main() -> None:
    """Run the command line; signals and streams are settled before what takes long is loaded."""
    from splade_bridge.cli import signals

    signals.catch()
    try:
        from splade_bridge.cli import streams

        streams.settle()
        from splade_bridge.cli.app import main as run

        run()
    except KeyboardInterrupt:  # while something was loaded, or a message was told
        if sys.stderr is not None:
            sys.stderr.write("error: interrupted\n")
        code: int | str | None = 130
    except SystemExit as end:
        code = end.code
    else:
        code = 0
    stopped = signals.status()
    signals.let_go()
    if stopped:
        # CPython remembers a KeyboardInterrupt that left an exec() (namedtuple and dataclasses have
        # one), though it was caught since, and ends with SIGINT; the next exec() makes it forget.
        exec("")  # noqa: S102 - of nothing
    sys.exit(code if stopped is None or not code else stopped)


if __name__ == "__main__":
    main()
