"""The tables of a run's report."""

from __future__ import annotations

from compressor.evaluation.score import IndexRecall, Score
from profiles.analysis.answer_flips import flips_table
from profiles.analysis.effects import Alternatives
from profiles.formatting import Table, format_bytes
from profiles.gates.budget_check import tries_table
from profiles.reports.compression_report import KEPT, REPLACED, CompressionReport
from profiles.reports.layer_tables import tabulate_layer_times
from profiles.reports.profile_tables import collect_peaks, tabulate_costs, tabulate_times, tabulate_variants


def tabulate_report(report: CompressionReport) -> tuple[Table, ...]:
    """Return every table of the report, in order."""
    report_tables = [tabulate_accuracy(report), *tabulate_index(report.index), tabulate_report_costs(report)]
    if report.flips and report.flips.total.changed:
        report_tables.append(flips_table(report.flips))
    if report.budget and report.budget.tries:
        report_tables.append(tries_table(report.budget))
    if report.profile:
        report_tables += [
            tabulate_variants(report.profile),
            *tabulate_times(report.profile),
            *tabulate_layer_times(report.profile),
        ]
    if report.exports:
        report_tables.append(tabulate_exports(report))
    if any(entry.gate is not None for entry in report.candidates):
        report_tables.append(tabulate_gates(report))
    elif any(entry.best for entry in report.candidates):
        report_tables.append(tabulate_scores(report))
    return tuple(report_tables)


def tabulate_accuracy(report: CompressionReport) -> Table:
    """Return the scores of full, slim and the trivial baseline."""

    def row(name: str, score: Score) -> tuple[str, ...]:
        return name, f"{100 * score.value:.2f} ± {100 * score.margin:.2f}", _loss(score.loss), str(score.samples)

    rows = [row(f"{report.full_word} model", report.full)] if report.full else []
    rows.append(row("slim model", report.slim))
    if report.full:
        drop = 100 * (report.slim.value - report.full.value)
        rows.append(("difference", f"{drop:+.2f}", _loss(report.slim.loss, report.full.loss), ""))
    rows.append((report.floor_name, f"{100 * report.floor:.2f}", "", ""))
    rows += _parts(report.full, report.slim)
    for name, pair in report.apart.items():
        rows += [row(f"{name}, {report.full_word}", pair.full)] if pair.full else []
        rows += [row(f"{name}, slim", pair.slim), *_parts(pair.full, pair.slim)]
    return Table(f"{report.slim.metric}, %", ("", report.slim.metric, "loss", "n"), tuple(rows))


def _loss(loss: float | None, before: float | None = None) -> str:
    """Return a loss, or its change; nothing where there is none."""
    if loss is None:
        return ""
    return f"{loss:.3f}" if before is None else f"{loss - before:+.3f}"


def tabulate_index(index: IndexRecall | None) -> tuple[Table, ...]:
    """Return what queries find by the model that made them and the model that made the index; nothing without one."""
    if index is None:
        return ()
    title = f"recall@{index.at} of {index.sought}, {index.queries:,} queries, {index.documents:,} documents, %"
    rows = (
        ("full model's queries", f"{100 * index.full_on_full:.2f}", ""),
        ("slim model's queries", f"{100 * index.slim_on_full:.2f}", f"{100 * index.slim_on_slim:.2f}"),
    )
    return (Table(title, ("", "full model's index", "slim model's index"), rows),)


def _parts(full: Score | None, slim: Score) -> list[tuple[str, ...]]:
    """Return a row for each further metric: full, then slim."""
    full_parts = {} if full is None else full.parts
    return [
        (
            f"  {name}",
            " -> ".join(f"{100 * parts[name]:.2f}" for parts in (full_parts, slim.parts) if name in parts),
            "",
            "",
        )
        for name in slim.parts
    ]


def tabulate_report_costs(report: CompressionReport) -> Table:
    """Return MACs, parameters, weights and, once it was measured, memory of full and slim."""
    costs, memory = report.costs, collect_peaks(report.profile) if report.profile else {}
    sizes = {"weights, float32": costs.weight_bytes, **memory}
    return tabulate_costs(costs.macs, costs.macs_by_pool, costs.trims, costs.parameters, sizes)


def tabulate_gates(report: CompressionReport) -> Table:
    """Return the gates of candidates, highest first: those are the redundant layers."""

    def figure(value: float | None, signed: bool = False) -> str:
        return "" if value is None else f"{value:{'+' if signed else ''}.3f}"

    order = sorted(report.candidates, key=lambda entry: -(entry.gate or 0.0))
    rows = [
        (
            entry.name,
            figure(entry.gate, signed=True),
            figure(entry.reward_skipped),
            figure(entry.reward_kept),
            f"{REPLACED} skipped" if entry.skipped else f"{KEPT} kept",
        )
        for entry in order
    ]
    header = ("layer", "gate", "reward when skipped", "when kept", "")
    return Table("Why these layers (highest gates go)", header, tuple(rows))


def tabulate_scores(report: CompressionReport) -> Table:
    """Return the best subsets that skip and that keep each layer, one of which is the choice: skipped layers first."""
    both = [(entry, entry.best) for entry in report.candidates if entry.best]
    probed = any(best.kept_readable is not None for _, best in both)

    def compare(best: Alternatives) -> tuple[str, str]:
        if best.skipped_readable is None or best.kept_readable is None:
            return f"{best.skipped_divergence:.2g}", f"{best.kept_divergence:.2g}"
        return f"{100 * best.skipped_readable:.1f}", f"{100 * best.kept_readable:.1f}"

    rows = [
        (
            entry.name,
            f"{100 * best.skipped:.2f}",
            f"{100 * best.kept:.2f}",
            *compare(best),
            f"{REPLACED} skipped" if entry.skipped else f"{KEPT} kept",
        )
        for entry, best in sorted(both, key=lambda pair: (not pair[0].skipped, pair[1].kept - pair[1].skipped))
    ]
    further = ("they leave readable, %", "and") if probed else ("they diverge by", "and")
    header = ("layer", "best that skips it", "that keeps it", *further, "")
    return Table("Why these layers: the best subset either way, score in %", header, tuple(rows))


def tabulate_exports(report: CompressionReport) -> Table:
    """Return each exported file against slim in PyTorch: on the samples of its certificate, else on those of parity."""
    rows = []
    for entry in report.exports:
        parity, made = entry.parity, entry.parity.certificate
        samples, found = (made.samples, made.against_slim) if made else (parity.samples, parity)
        rows.append(
            (
                entry.file,
                format_bytes(entry.bytes) if entry.bytes else "",
                str(samples or ""),
                "" if found.max_abs_error is None else f"{found.max_abs_error:.1e}",
                "" if found.answer_agreement is None else f"{found.answer_agreement:.1%}",
                "" if not parity.shares or parity.shares.macs is None else f"{parity.shares.macs:.1%}",
                parity.status,
            )
        )
    header = ("file", "size", "samples", "max error", "agreement", "MACs so", "parity")
    return Table("Exports", header, tuple(rows))
