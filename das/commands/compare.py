"""``das compare``: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders, or folders of several seeds.", autocompletion=o.complete_run
        ),
    ],
    svg: Annotated[
        Path | None,
        typer.Option(help="Also write a plot of scores over skipped layers to this file.", rich_help_panel=o.OUTPUT),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on stdout.", rich_help_panel=o.OUTPUT)] = False,
    json: o.Json = False,
) -> None:
    """Put runs side by side: layers, scores, MACs, latency, memory and exports, read from their folders.

    Warns where runs are not comparable: another task, checkpoint, data, machine or version.

    Of folders that das compress --seeds made: means, intervals, and whether differences are more than noise.

    Example: [bold]das compare runs/skip4 runs/skip8[/]

    Next: [bold]das profile RUN[/] for quantities not measured yet
    """
    from das.render.print_compare import print_compare, print_seeds_comparison
    from das.terminal import print_json
    from profiles.comparison.run_vs_run import compare_runs
    from profiles.comparison.run_vs_run_tables import render_comparison
    from profiles.comparison.seed_runs import compare_seeds, is_seeds_folder
    from profiles.comparison.seed_tables import render_seeds_comparison

    if svg:
        from profiles.reports.plots import draw_strategies, save_svg

        save_svg(draw_strategies(compare_seeds(runs)), svg)
    if any(map(is_seeds_folder, runs)):
        comparison = compare_seeds(runs)
        if json:
            print_json(comparison)
        elif markdown:
            typer.echo(render_seeds_comparison(comparison), nl=False)
        else:
            print_seeds_comparison(comparison)
        return
    report = compare_runs(runs)
    if json:
        print_json(report)
    elif markdown:
        typer.echo(render_comparison(report), nl=False)
    else:
        print_compare(report)
