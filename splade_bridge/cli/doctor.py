"""``splade-bridge doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from splade_bridge.cli.options import Json
from splade_bridge.cli.telling import note, print_json, say

NAME = "doctor"


def command(
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="First fetch what would be fetched later, as Lucene's jars."),
    ] = False,
    json: Json = False,
) -> None:
    """Show what is installed, and how to get the rest.

    Exits with 3 if something is missing that is not optional. Without --fetch no network is asked;
    after it none is needed.
    """
    from splade_bridge import doctor

    if fetch:
        for line in doctor.fetch():
            note(line)
    findings = doctor.examine()
    if json:
        print_json({"findings": findings})
    else:
        for f in findings:
            mark, what = ("ok", f.found) if f.found else ("--", f"not found; {f.remedy}")
            say(f"{mark}  {f.name:<22}{what}  [{f.needed_for}]")
    if any(f.found is None and not f.remedy.startswith("optional") for f in findings):
        raise typer.Exit(3)
