"""Reports as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from profiles.comparison.full_vs_slim import ProfileReport
from profiles.formatting import Table, uncounted_sentence
from profiles.gates.baseline import BaselineChanges, changes_table, notes
from profiles.reports.compression_report import KEPT, REPLACED, CompressionReport
from profiles.reports.compression_tables import tables
from profiles.reports.layer_tables import layer_tables
from profiles.reports.profile_tables import (
    cost_table,
    counts_sentences,
    latency_tables,
    not_measured,
    verdicts,
)
from profiles.reports.sentences import mac_sentences, sentences, split_lines


def report_markdown(report: CompressionReport) -> str:
    """Return the report as a Markdown page."""
    parts = [f"# {report.checkpoint}: {len(report.skipped)} layers skipped", bullets(sentences(report))]
    parts.append("```text\n" + "\n".join(report.picture) + f"\n\n{KEPT} kept   {REPLACED} skip adapter\n```")
    for table in tables(report):
        parts += [f"## {table.title}", markdown_table(table.header, table.rows)]
    parts += [bullets(mac_sentences(report))]
    if report.not_measured:
        parts += ["## Not measured", bullets([f"{entry.what}: {entry.why}" for entry in report.not_measured])]
    parts += ["## How", bullets([f"command: `{report.command or 'Python API'}`", *split_lines(report)])]
    return "\n\n".join(parts) + "\n"


def to_markdown(report: ProfileReport, changes: BaselineChanges | None = None) -> str:
    """Return the whole profile as a Markdown section, with changes since a baseline."""
    place = report.environment
    versions = ", ".join(f"{package} {version}" for package, version in place.versions.items())
    parts = (
        f"## Profile of {report.run}",
        f"{report.family}, {report.task}; skipped: {', '.join(report.skipped)}.",
        *_section(cost_table(report)),
        uncounted_sentence(report.uncounted),
        *((bullets(counts_sentences(report.counts)),) if report.counts else ()),
        *(part for latency in latency_tables(report) for part in _section(latency)),
        *(part for table in layer_tables(report) for part in _section(table)),
        bullets(verdicts(report)),
        *((*_section(changes_table(changes)), bullets(notes(changes))) if changes else ()),
        f"`{report.command or 'Python API'}`, {report.date}, seed {report.seed}.",
        f"Measured on {place.machine} ({place.processor}, {place.cores} cores, load {place.load:.2f}); {versions}.",
        "### Not measured",
        bullets(not_measured(report)),
    )
    return "\n\n".join(parts) + "\n"


def _section(table: Table) -> tuple[str, str]:
    return f"### {table.title}", markdown_table(table.header, table.rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table: its first column is text, which keeps its indentation, the others are figures."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows))
    return "\n".join(line.replace("|   ", "| &emsp;", 1) for line in lines)


def bullets(sentences: Sequence[str]) -> str:
    """Format one bullet for each sentence."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
