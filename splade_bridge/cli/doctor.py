"""``splade-bridge doctor``."""

from __future__ import annotations

import typer

from splade_bridge.cli.options import Json
from splade_bridge.cli.telling import print_json

NAME = "doctor"


def command(json: Json = False) -> None:
    """Show what is installed, and the command that brings what is not.

    Exits with 3 if something is missing that is not optional.
    """
    from splade_bridge.doctor import examine

    findings = examine()
    if json:
        print_json({"findings": findings})
    else:
        for f in findings:
            mark, what = ("ok", f.found) if f.found else ("--", f"not found; {f.remedy}")
            typer.echo(f"{mark}  {f.name:<22}{what}  [{f.needed_for}]")
    if any(f.found is None and not f.remedy.startswith("optional") for f in findings):
        raise typer.Exit(3)
