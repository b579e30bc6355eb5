"""The command line of scripts/soak."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from pathlib import Path

from soak.frame import Campaign, markdown_of, report_of, write_report
from soak.subjects import SUBJECTS


def main() -> int:
    """1 if anything was found, else 0."""
    names = [kind.name for kind in SUBJECTS]
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description="Try to break splade-bridge, round after round until the time is over; exit 1 "
        "if anything is found. Ctrl-C ends it with its report.",
    )
    parser.add_argument("--minutes", type=float, default=120, help="default: 120")
    parser.add_argument("--seed", type=int, help="of what is random; default: the time")
    parser.add_argument("--only", help=f"subjects, with commas: {','.join(names)}")
    parser.add_argument("--report", type=Path, help="write it; FILE.json as JSON, else Markdown")
    parser.add_argument("--repeat", metavar="SUBJECT:SEED", help="one try, as a finding told it")
    given = parser.parse_args()
    wanted = names if given.only is None else given.only.split(",")
    repeated, _, repeated_seed = (given.repeat or "").partition(":")
    if repeated:
        wanted = [repeated]
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"no subject {', '.join(unknown)}; there are {', '.join(names)}")
    # What the subjects run is this checkout, whichever one is installed.
    tests = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tests), str(tests.parent)])
    logging.disable(logging.WARNING)  # what subjects do on purpose is not told
    seed = int(time.time()) if given.seed is None else given.seed
    seed = int(repeated_seed) if repeated else seed
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    campaign = Campaign([kind for kind in SUBJECTS if kind.name in wanted], say)
    try:
        if repeated:
            campaign.repeat(repeated, int(repeated_seed))
        else:
            say(f"scripts/soak --minutes {given.minutes:g} --seed {seed} gives the same")
            campaign.run(seed, given.minutes)
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        campaign.close()
        if given.report:
            write_report(campaign, seed, given.report)
    say("\n" + markdown_of(report_of(campaign, seed)))
    return 1 if campaign.findings else 0


def say(line: str) -> None:
    """A line, with the time, on stdout."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
