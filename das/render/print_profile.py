"""A profile on stdout: in the terminal, as JSON, Markdown or HTML."""

from __future__ import annotations

import typer

from compressor.run_folder import Run
from das.render.print_report import print_report
from das.render.rich_tables import draw
from das.terminal import console, print_json, shown
from profiles.comparison.full_vs_slim import ProfileReport
from profiles.gates.baseline import BaselineChanges, ComparedProfile, changes_table, notes
from profiles.reports.build_report import build_report
from profiles.reports.html import run_html
from profiles.reports.markdown import to_markdown


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
        typer.echo(to_markdown(profile, changes), nl=False)
    elif html:
        typer.echo(run_html(run, build_report(run)), nl=False)
    else:
        print_report(build_report(run), shown(run.path), details)
        if changes:
            console.print(draw(changes_table(changes)))
            for line in notes(changes):
                console.print(line, style="dim")
