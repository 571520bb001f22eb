"""Exports in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from das.render.rich_tables import draw
from das.results import Exports
from das.terminal import console, shorten_path
from exporters.checks.audit import describe_shares
from exporters.checks.records import Certificate, MetricChange
from exporters.export import Exported
from profiles.deployment.best import describe_best, list_reasons, tabulate_best
from profiles.deployment.recommend_export import recommend, tabulate_choices
from profiles.formatting import Table, format_bytes
from profiles.reports.sentences import describe_index


def print_export(report: Exports) -> None:
    """Draw each export with its error against PyTorch, then the accuracy and latency of each here."""
    rows = []
    for entry in report.exports:
        error = entry.parity.max_abs_error
        rows.append(
            (
                entry.files[0],
                format_bytes(entry.bytes),
                "" if entry.opset is None else str(entry.opset),
                f"{entry.seconds:.0f}",
                "" if error is None else f"{error:.1e}",
                entry.parity.status,
            )
        )
    console.print(draw(Table("Exported", ("file", "size", "opset", "seconds", "max error", "parity"), tuple(rows))))
    for entry in report.exports:
        for note in _notes(entry):
            console.print(Text(f"{entry.files[0]}: {note}"))
    if report.choices:
        console.print(draw(tabulate_choices(report.choices)))
        console.print(Text(recommend(report.choices), style="bold"))
    if report.best:
        console.print(draw(tabulate_best(report.best)))
        for line in list_reasons(report.best):
            console.print(Text(line, style="dim"))
        console.print(Text(describe_best(report.best), style="bold"))
    if report.beside and any(entry.format == "onnx" for entry in report.exports):
        console.print(Text(f"Complete for ONNX tools, with {', '.join(report.beside)}: see docs/use.md."))
    console.print(f"in {shorten_path(Path(report.folder))}", soft_wrap=True)


def _notes(entry: Exported) -> list[str]:
    notes = [f"{entry.parity.status}: {entry.parity.reason}"] if entry.parity.reason else []
    notes += [describe_shares(entry.parity.precision, entry.parity.shares)] if entry.parity.shares else []
    notes += [_certificate(entry.parity.certificate)] if entry.parity.certificate else []
    return [*notes, *entry.notes]


def _certificate(certificate: Certificate) -> str:
    """Summarise a certificate in one to three sentences."""
    errors = certificate.against_slim
    same = "" if errors.answer_agreement is None else f", {errors.answer_agreement:.1%} the same answers"
    where = f" with {certificate.instructions}" if certificate.instructions else ""
    text = (
        f"certified on {certificate.samples} samples{where}: outputs (up to {errors.scale:.1f}) off by "
        f"{errors.max_abs_error:.1e} at most, 99 % within {errors.p99_abs_error:.1e}{same}"
    )
    changes = [
        f"{_change(change)} against {whom}"
        for change, whom in ((certificate.metric, "the slim model"), (certificate.metric_against_full, "the full one"))
        if change
    ]
    changes += [describe_index(certificate.index)] if certificate.index else []
    return f"{text}. {'; '.join(changes)}".rstrip(". ") + (f" ({certificate.note})" if certificate.note else "")


def _change(change: MetricChange) -> str:
    return f"{change.metric} {100 * change.change:+.2f} ± {100 * change.margin:.2f} points"
