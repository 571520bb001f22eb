"""``das explain``: the reasons that a run's layers were cut or kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o
from das.commands.loading import load_libraries


def explain(
    run: o.RunFolder = None,
    layer: Annotated[str | None, typer.Option(help="Only this layer, e.g. FL1.")] = None,
    regret: Annotated[
        bool, typer.Option("--regret", help="Score every subset of the size now, to tell how good the choice is.")
    ] = False,
    svg: Annotated[
        Path | None,
        typer.Option(
            help="Also write a plot to this file: gates over the search, or scores by layer.", rich_help_panel=o.OUTPUT
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Show for each layer what it costs, what skipping it did to the score, and why it was kept or cut.

    Example: [bold]das explain runs/latest --layer FL1[/]

    Next: [bold]das pareto runs/latest[/]
    """
    from compressor.saved_run.run_folder import read_run
    from das.render.print_explanation import print_explanation, save_explanation_svg
    from das.terminal import print_json, progress, shorten_path
    from profiles.analysis.explanation import enumerate_all, explain_layers

    opened = read_run(run)
    explanation = every_layer = explain_layers(opened)
    if layer:
        explanation = every_layer.of(layer)
    if svg:
        save_explanation_svg(opened, every_layer, svg)
    if regret:
        load_libraries()
        explanation = explanation.model_copy(update={"enumeration": enumerate_all(opened, progress())})
    print_json(explanation) if json else print_explanation(explanation, shorten_path(opened.path))
