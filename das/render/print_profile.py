"""A profile on stdout: in the terminal, as JSON, Markdown or HTML."""

from __future__ import annotations

import typer
from rich.text import Text

from compressor.saved_run.run_folder import Run
from das.render.print_report import print_report
from das.render.rich_tables import draw
from das.terminal import console, print_json, shorten_path
from profiles.comparison.full_vs_slim import Fastest, ProfileReport
from profiles.deployment.fastest import describe_fastest, tabulate_ways
from profiles.gates.baseline import BaselineChanges, ComparedProfile, list_notes, tabulate_changes
from profiles.reports.build_report import build_report
from profiles.reports.html import render_run
from profiles.reports.layer_tables import tabulate_all_gains
from profiles.reports.markdown import render_profile


def print_profile(
    run: Run,
    profile: ProfileReport,
    changes: BaselineChanges | None,
    *,
    details: bool,
    html: bool,
    markdown: bool,
    json: bool,
) -> None:
    """Print the profile of ``run``, and what changed since a baseline; within 80 columns without a format."""
    if json:
        print_json(ComparedProfile(**dict(profile), baseline=changes) if changes else profile)
    elif markdown:
        typer.echo(render_profile(profile, changes), nl=False)
    elif html:
        typer.echo(render_run(run, build_report(run)), nl=False)
    else:
        print_report(build_report(run), shorten_path(run.path), details)
        if profile.layers and not details:
            for table in tabulate_all_gains(profile):
                console.print(draw(table))
            console.print("every layer: --details, or report.html", style="dim")
        if changes:
            console.print(draw(tabulate_changes(changes)))
            for line in list_notes(changes):
                console.print(line, style="dim")
        if profile.fastest:
            _print_fastest(profile, profile.fastest, details)


def _print_fastest(profile: ProfileReport, fastest: Fastest, details: bool) -> None:
    """Draw the best way of each runtime, what was not timed and why, and the verdict, last."""
    if len(fastest.ways) > 1 and not details:
        console.print(draw(tabulate_ways(fastest)))
    for entry in profile.not_measured if not details else ():
        console.print(f"not measured, {entry.what}: {entry.why}", style="dim")
    console.print(Text(describe_fastest(fastest), style="bold"))
