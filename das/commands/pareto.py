"""``das pareto``: the accuracy/cost trade-off that a search found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def pareto(
    run: o.RunFolder = None,
    cost: Annotated[
        str, typer.Option(help="Cost of the points: macs, params, or latency after a budget on it.")
    ] = "macs",
    svg: Annotated[
        Path | None, typer.Option(help="Also write the plot to this file.", rich_help_panel=o.OUTPUT)
    ] = None,
    json: o.Json = False,
) -> None:
    """Show the best subset for every number of layers, score against cost; nothing is searched again.

    Example: [bold]das pareto runs/latest --svg front.svg[/]

    Next: [bold]das compress --from runs/latest --skip 4[/]
    """
    from compressor.saved_run.run_folder import read_run
    from das.render.print_pareto import print_pareto, save_pareto_svg
    from das.terminal import print_json, shorten_path
    from profiles.analysis.pareto import build_pareto

    opened = read_run(run)
    report = build_pareto(opened, cost)
    if svg:
        save_pareto_svg(report, svg)
    print_json(report) if json else print_pareto(report, shorten_path(opened.path))
