"""The report of a reproduction in its folder: report.json, report.md and report.html."""

from __future__ import annotations

from pathlib import Path

from compressor.files import write_json, write_text
from profiles.formatting import Table, format_bullets, format_markdown_table
from profiles.paper.reproduction import Reproduction
from profiles.paper.reproduction_tables import (
    WORDS,
    describe_reproduction,
    format_title,
    list_facts,
    tabulate_reproduction,
)
from profiles.reports.compression_report import MARKDOWN, REPORT
from profiles.reports.html import PAGE, open_template
from profiles.reports.plots import DARK, LIGHT

TEMPLATE = "reproduction.html"


def save_reproduction(report: Reproduction, folder: Path) -> None:
    """Write the report in its three forms, each whole or not at all.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    write_json(folder / REPORT, report.model_dump(mode="json"))
    write_text(folder / MARKDOWN, render_markdown(report))
    write_text(folder / PAGE, render_page(report))


def render_markdown(report: Reproduction) -> str:
    """Return the report as a Markdown page."""
    parts = [f"# {format_title(report)}"]
    for table in filter(_has_rows, tabulate_reproduction(report)):
        parts += [f"## {table.title}", format_markdown_table(table.header, table.rows)]
    facts = [f"{name}: {line}" for name, lines in list_facts(report).items() for line in lines]
    parts += [format_bullets(describe_reproduction(report)), "## How", format_bullets(facts)]
    return "\n\n".join(parts) + "\n"


def render_page(report: Reproduction) -> str:
    """Return the report as one page of HTML that loads nothing."""
    return open_template(TEMPLATE).render(
        report=report,
        light=LIGHT,
        dark=DARK,
        heading=format_title(report),
        sentences=describe_reproduction(report),
        tables=[*filter(_has_rows, tabulate_reproduction(report))],
        words=WORDS,
        facts=list_facts(report),
        source=REPORT,
    )


def _has_rows(table: Table) -> bool:
    return bool(table.rows)
