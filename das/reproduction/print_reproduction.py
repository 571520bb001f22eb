"""The reproduction of a table, and its plan, in the terminal, within 80 columns."""

from __future__ import annotations

from compressor.progress import describe_seconds
from das.render.rich_tables import draw
from das.reproduction.outlook import PlannedRow, ReproductionPlan
from das.terminal import console
from profiles.formatting import Table, format_bytes
from profiles.paper.reproduction import Reproduction
from profiles.paper.reproduction_tables import (
    WORDS,
    describe_reproduction,
    format_title,
    name_table,
    tabulate_reproduction,
)


def print_reproduction(report: Reproduction, details: bool = False) -> None:
    """Draw scores, costs and sentences; with ``details`` every run, too."""
    *tables, runs = tabulate_reproduction(report)
    console.print(format_title(report), style="bold")
    for table in (*tables, *((runs,) if details else ())):
        if table.rows:
            console.print(draw(table, WORDS))
    for sentence in describe_reproduction(report):
        console.print(sentence, style="dim")
    console.print(f"\nevery run is in {report.folder} (report.html, report.md, report.json)", soft_wrap=True)


def print_plan(plan: ReproductionPlan) -> None:
    """Draw steps and time of every row, and what the whole needs."""
    console.print(f"{name_table(plan.table)} on {plan.checkpoint} ({plan.family}, {plan.task}), on {plan.device}")
    for split in plan.data:
        console.print(f"{split['name']}: {split['rows']:,} rows of {', '.join(split['files'])}", soft_wrap=True)
    rows = tuple(_planned(row) for row in plan.rows if not row.missing)
    header = ("", "--rows", "runs", "there", "search steps", "train steps", "each", "all")
    console.print(draw(Table("", header, rows), ("--rows",)))
    for row in plan.rows:
        if row.missing:
            console.print(f"not run: {row.title} ({row.name}): {row.missing}")
    runs, load = f"{plan.runs} run{'s' * (plan.runs != 1)}", f"load {plan.load:.1f} on {plan.cores} cores"
    console.print(f"{runs}: about {describe_seconds(plan.seconds)} on this machine ({load}), without reading data")
    for need in plan.needs:
        parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in need.parts.items())
        enough = "" if need.enough else ": NOT ENOUGH"
        amounts = f"{format_bytes(need.total)} of {format_bytes(need.free)} free{enough}"
        console.print(f"{need.resource} for {need.stage}: {amounts} ({parts})")
    console.print(f"would write {plan.out}; nothing was trained or written", soft_wrap=True)


def _planned(row: PlannedRow) -> tuple[str, ...]:
    each, steps = describe_seconds(row.seconds), [f"{count:,}" for count in (row.search_steps, row.train_steps)]
    return (
        row.title,
        row.name,
        str(row.runs),
        str(row.finished),
        *steps,
        each,
        describe_seconds(row.runs * row.seconds),
    )
