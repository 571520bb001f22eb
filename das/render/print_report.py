"""The compression report, a search's choice and the dry run in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich.box
from rich.panel import Panel
from rich.table import Table as RichTable

from compressor.job import Job
from compressor.models.plan import Plan, summarise
from compressor.search.result import SearchRecord
from compressor.search.strategies import STRATEGIES
from compressor.tasks import TASKS
from das.render.rich_tables import draw
from das.terminal import WIDTH, console, print_json
from profiles.formatting import Table
from profiles.reports.compression import KEPT, REPLACED, CompressionReport
from profiles.reports.compression_tables import tables
from profiles.reports.sentences import counted, sentences, split_lines
from profiles.reports.summary import SummaryRow, summary

BAR = 20  # characters of a bar that stands for the full model


def print_report(report: CompressionReport, folder: Path, details: bool = False) -> None:
    """Draw the report of the run in ``folder`` within 80 columns: one screen, or everything there is."""
    console.print(Panel("\n".join(sentences(report)), title=f"{report.checkpoint}, {report.task}", width=WIDTH))
    for line in report.picture:
        console.print(f"  {line}")
    console.print(f"  {KEPT} kept   {REPLACED} skip adapter\n", style="dim")
    console.print(_bars(summary(report)))
    if details:
        for table in tables(report):
            console.print(draw(table))
        for line in (*counted(report), *split_lines(report)):
            console.print(line, style="dim")
        for entry in report.not_measured:
            console.print(f"not measured, {entry.what}: {entry.why}", style="dim")
    elif report.not_measured:
        names = ", ".join(dict.fromkeys(entry.what for entry in report.not_measured))
        console.print(f"Not measured: {names} (why: --details).", style="dim")
    console.print(f"\nrun folder: {folder} (report.html, report.md, report.json)", soft_wrap=True)


def _bars(rows: Sequence[SummaryRow]) -> RichTable:
    """Full and slim beside each other, and slim as a share of full: the whole width is the full model's."""
    drawn = RichTable(box=rich.box.SIMPLE_HEAD)
    drawn.add_column("", no_wrap=True)
    for header in ("full", "slim", ""):
        drawn.add_column(header, justify="right", no_wrap=True)
    drawn.add_column("slim of full", no_wrap=True)
    for row in rows:
        drawn.add_row(row.name, row.full, row.slim, row.change, "" if row.share is None else _bar(row.share))
    return drawn


def _bar(share: float) -> str:
    filled = min(BAR, round(share * BAR))
    return "█" * filled + "░" * (BAR - filled)


def print_search(checkpoint: Path, plan: Plan, record: SearchRecord) -> None:
    """Draw the choice for every number of layers, what the search cost, and the command that acts on it."""
    rows = []
    for size, layers in sorted(record.chosen.items()):
        saved = sum(record.macs_saved[name] for name in layers)
        score = f"{100 * record.point(layers).value:.2f}"
        rows.append((str(size), score, f"{1 - saved / record.macs:.1%}", summarise(layers)))
    title = f"{record.metric}, %, of {record.samples} held-out samples; full model {100 * record.full.value:.2f}"
    console.print(draw(Table(title, ("k", record.metric, "MACs", "skipped"), tuple(rows))))
    forwards = sum(record.forwards.values())
    console.print(f"Strategy {record.strategy}: as much work as {forwards:,.0f} forward passes of the full model.")
    console.print(f"\ndas compress {checkpoint} --layers {','.join(plan.layers)}", soft_wrap=True)


def print_dry_run(job: Job, folder: Path, json: bool) -> None:
    """Say what a compression would do."""
    recovery, trains = job.recovery, job.settings.recover == "train"
    splits = [split.describe() for split in job.data.splits]
    facts = {
        "schema_version": 1,
        "family": job.model.family,
        "task": job.model.task,
        "candidates": list(job.candidates),
        "skip": None if job.settings.budget else job.skip,
        "budget": str(job.settings.budget) if job.settings.budget else None,
        "strategy": job.strategy if job.searches else None,
        "search_steps": job.search_steps if job.trains_while_searching else 0,
        "recover": job.settings.recover,
        "recover_steps": recovery.steps if trains else 0,
        "recover_learning_rate": recovery.learning_rate if trains else None,
        "device": str(job.device),
        "out": str(folder),
        "layout": job.data.layout,
        "data": splits,
        "leftovers": job.loaded.leftovers_by_reason,
    }
    if json:
        print_json(facts)
        return
    samples = TASKS[job.model.task].samples
    console.print(f"{job.model.family} for {job.model.task}, on {job.device}")
    goal = f"as many as {job.settings.budget} needs" if job.settings.budget else job.skip
    console.print(f"would skip {goal} of {len(job.candidates)} layers: {summarise(job.candidates)}")
    if job.searches:
        steps = f", {job.search_steps} training steps" if job.trains_while_searching else ""
        console.print(f"strategy {job.strategy}: {STRATEGIES[job.strategy].what}{steps}", soft_wrap=True)
    steps = f": {recovery.steps} steps at {recovery.learning_rate:.1e}" if trains else ""
    console.print(f"recovery {job.settings.recover}{steps}")
    for split in splits:
        console.print(f"{split['name']}: {split['rows']} {samples} of {', '.join(split['files'])}")
    for reason, keys in job.loaded.leftovers_by_reason.items():
        shown = f"{keys[0]}{', ...' if len(keys) > 1 else ''}"
        console.print(f"left over, {reason}: {len(keys)} keys ({shown})", style="dim")
    console.print(f"would write {folder}; nothing was trained or written", soft_wrap=True)
