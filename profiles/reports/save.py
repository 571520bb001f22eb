"""The report of a run in its folder: report.json, report.md and report.html."""

from __future__ import annotations

from compressor.run_folder import Run, cannot_write, write_json
from profiles.reports.build import build_report
from profiles.reports.compression import MARKDOWN, REPORT, CompressionReport
from profiles.reports.html import save_html
from profiles.reports.markdown import report_markdown


def save_report(run: Run) -> CompressionReport:
    """Build the report and write it into the run, each file whole or not at all.

    Raises:
        InputError: the full checkpoint, or a file of the search, is gone or damaged.
        EnvironmentProblem: the folder cannot be written.
    """
    report = build_report(run)
    try:
        write_json(run.path / REPORT, report.model_dump(mode="json"))
        temporary = run.path / f".{MARKDOWN}.tmp"
        temporary.write_text(report_markdown(report))
        temporary.replace(run.path / MARKDOWN)
    except OSError as error:
        raise cannot_write(run.path, error, f"free some space, or make {run.path} writable") from None
    save_html(run, report)
    return report
