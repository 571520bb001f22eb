"""The report of a run in its folder: report.json, report.md and report.html."""

from __future__ import annotations

from compressor.data.splits import Split
from compressor.files import write_json, write_text
from compressor.saved_run.run_folder import Run
from profiles.reports.build_report import build_report
from profiles.reports.compression_report import MARKDOWN, REPORT, CompressionReport
from profiles.reports.html import save_html
from profiles.reports.markdown import render_report


def save_report(run: Run, evaluation: Split | None = None) -> CompressionReport:
    """Build the report and write it into the run, each file whole or not at all.

    Args:
        run: a finished run.
        evaluation: the split it was evaluated on, where that is open already.

    Raises:
        InputError: a file of the run is damaged.
        EnvironmentProblem: the folder cannot be written.
    """
    report = build_report(run, evaluation)
    write_json(run.path / REPORT, report.model_dump(mode="json"))
    write_text(run.path / MARKDOWN, render_report(report))
    save_html(run, report)
    return report
