"""Verified exports in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from das.render.rich_tables import draw
from das.terminal import console, shorten_path
from exporters.checks.audit import Audit, describe_shares
from exporters.verify import VerifyReport
from profiles.formatting import Table


def print_verified(report: VerifyReport) -> None:
    """Draw each export, then reasons of failures, notes, and the results of audits."""
    rows = []
    for entry in report.exports:
        parity, certificate = entry.parity, entry.certificate
        errors = [parity.max_abs_error] + ([certificate.against_slim.max_abs_error] if certificate else [])
        worst = max((error for error in errors if error is not None), default=None)
        samples = certificate.samples if certificate else parity.samples
        rows.append((entry.file, str(samples or ""), "" if worst is None else f"{worst:.1e}", parity.status))
    console.print(draw(Table("Verified here", ("file", "samples", "max error", "parity"), tuple(rows))))
    for entry in report.exports:
        if entry.parity.reason:
            console.print(Text(f"{entry.file}: {entry.parity.status}: {entry.parity.reason}"))
        for note in entry.notes:
            console.print(Text(f"{entry.file}: {note}"))
        if entry.audit:
            console.print(Text(f"{entry.file}: {_sentence(entry.audit)}"))
    console.print(f"in {shorten_path(Path(report.folder))}", soft_wrap=True)


def _sentence(audit: Audit) -> str:
    if audit.shares:
        return describe_shares(audit.asked, audit.shares)
    shares_by_unit = {"layers": audit.layer_share, "weights": audit.weight_share}
    shares = [f"{share:.1%} of the {unit}" for unit, share in shares_by_unit.items() if share is not None]
    if not shares:
        return f"the {audit.counted_on} does not say in which precision its layers are"
    return f"{' and '.join(shares)} in {audit.asked}, counted on the {audit.counted_on}"
