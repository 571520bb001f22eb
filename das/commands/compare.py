"""``das compare``: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, each a column.", autocompletion=o.complete_run)
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on stdout.", rich_help_panel=o.OUTPUT)] = False,
    json: o.Json = False,
) -> None:
    """Put runs side by side: layers, scores, MACs, latency, memory and exports, read from their folders.

    Warns where runs are not comparable: another task, checkpoint, data, machine or version.

    Example: [bold]das compare runs/skip4 runs/skip8[/]

    Next: [bold]das profile RUN[/] for quantities not measured yet
    """
    from das.render.print_compare import print_compare
    from das.terminal import print_json
    from profiles.comparison.run_vs_run import compare_runs
    from profiles.comparison.run_vs_run_tables import render_comparison

    report = compare_runs(runs)
    if json:
        print_json(report)
    elif markdown:
        typer.echo(render_comparison(report), nl=False)
    else:
        print_compare(report)
