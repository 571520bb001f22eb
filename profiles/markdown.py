"""Reports as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from profiles.comparison import ProfileReport
from profiles.tables import Table, cost_table, latency_tables, not_measured, uncounted, verdicts


def to_markdown(report: ProfileReport) -> str:
    """The whole profile as a Markdown section."""
    place = report.environment
    versions = ", ".join(f"{package} {version}" for package, version in place.versions.items())
    parts = (
        f"## Profile of {report.run}",
        f"{report.family}, {report.task}; skipped: {', '.join(report.skipped)}.",
        *_section(cost_table(report)),
        uncounted(report.uncounted),
        *(part for latency in latency_tables(report) for part in _section(latency)),
        bullets(verdicts(report)),
        f"Measured on {place.machine} ({place.processor}, {place.cores} cores, load {place.load:.2f}); {versions}.",
        "### Not measured",
        bullets(not_measured(report)),
    )
    return "\n\n".join(parts) + "\n"


def _section(table: Table) -> tuple[str, str]:
    return f"### {table.title}", markdown_table(table.header, table.rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text, which keeps its indentation, and the others are figures."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))
    return "\n".join(line.replace("|   ", "| &emsp;", 1) for line in lines)


def bullets(sentences: Sequence[str]) -> str:
    """One sentence a line."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
