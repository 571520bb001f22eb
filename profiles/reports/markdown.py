"""Reports as Markdown."""

from __future__ import annotations

from profiles.comparison.full_vs_slim import ProfileReport
from profiles.deployment.fastest import describe_fastest
from profiles.formatting import Table, describe_uncounted, format_bullets, format_markdown_table
from profiles.gates.baseline import BaselineChanges, list_notes, tabulate_changes
from profiles.reports.compression_report import CompressionReport
from profiles.reports.compression_tables import tabulate_report
from profiles.reports.layer_tables import tabulate_layer_times
from profiles.reports.profile_tables import (
    describe_counts,
    describe_speedups,
    describe_variants,
    list_not_measured,
    tabulate_profile_costs,
    tabulate_times,
    tabulate_variants,
)
from profiles.reports.sentences import describe_macs, describe_result, describe_splits


def render_report(report: CompressionReport) -> str:
    """Return the report as a Markdown page."""
    parts = [f"# {report.checkpoint}: {len(report.skipped)} layers skipped", format_bullets(describe_result(report))]
    parts.append("```text\n" + "\n".join(report.picture) + f"\n\n{report.legend}\n```")
    for table in tabulate_report(report):
        parts += [f"## {table.title}", format_markdown_table(table.header, table.rows)]
    parts += [format_bullets(describe_macs(report))]
    if report.profile and report.profile.fastest:
        parts += ["## Verdict", describe_fastest(report.profile.fastest)]
    if report.not_measured:
        parts += ["## Not measured", format_bullets([f"{entry.what}: {entry.why}" for entry in report.not_measured])]
    parts += [
        "## How",
        format_bullets([f"command: `{report.command or 'Python API'}`", *describe_splits(report.data, report.task)]),
    ]
    return "\n\n".join(parts) + "\n"


def render_profile(report: ProfileReport, changes: BaselineChanges | None = None) -> str:
    """Return the whole profile as a Markdown section, with changes since a baseline."""
    place = report.environment
    versions = ", ".join(f"{package} {version}" for package, version in place.versions.items())
    parts = (
        f"## Profile of {report.run}",
        f"{report.family}, {report.task}; skipped: {', '.join(report.skipped) or 'none'}.",
        *_section(tabulate_profile_costs(report)),
        describe_uncounted(report.uncounted),
        *((format_bullets(describe_counts(report.counts)),) if report.counts else ()),
        *_section(tabulate_variants(report)),
        format_bullets(describe_variants(report)),
        *(part for latency in tabulate_times(report) for part in _section(latency)),
        *(part for table in tabulate_layer_times(report) for part in _section(table)),
        format_bullets(describe_speedups(report)),
        *((*_section(tabulate_changes(changes)), format_bullets(list_notes(changes))) if changes else ()),
        f"`{report.command or 'Python API'}`, {report.date}, seed {report.seed}.",
        f"Measured on {place.machine} ({place.processor}, {place.cores} cores, load {place.load:.2f}); {versions}.",
        "### Not measured",
        format_bullets(list_not_measured(report)),
        *(("### Verdict", describe_fastest(report.fastest)) if report.fastest else ()),
    )
    return "\n\n".join(parts) + "\n"


def _section(table: Table) -> tuple[str, str]:
    return f"### {table.title}", format_markdown_table(table.header, table.rows)
