"""The compression report, the search's gates and the dry run in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.panel import Panel

from compressor.job import Job
from compressor.plan import Plan, summarise
from compressor.tasks import TASKS
from das.render_profile import draw
from das.terminal import console, print_json
from profiles.report import KEPT, REPLACED, Candidate, CompressionReport, sentences, split_lines, tables


def print_report(report: CompressionReport, folder: Path) -> None:
    """Draw the report of the run in ``folder`` within 80 columns."""
    console.print(Panel("\n".join(sentences(report)), title=f"{report.checkpoint}, {report.task}", width=80))
    for line in report.picture:
        console.print(f"  {line}")
    console.print(f"  {KEPT} kept   {REPLACED} skip adapter\n", style="dim")
    for table in tables(report):
        console.print(draw(table))
    for line in split_lines(report):
        console.print(line, style="dim")
    for entry in report.not_measured:
        console.print(f"not measured, {entry.what}: {entry.why}", style="dim")
    console.print(f"\nrun folder: {folder} (report.md, report.json)", soft_wrap=True)


def print_search(checkpoint: Path, plan: Plan, candidates: Sequence[Candidate]) -> None:
    """Draw gates and choice, and the command that acts on them."""
    for entry in sorted(candidates, key=lambda entry: -(entry.gate or 0.0)):
        mark = f"{REPLACED} skip" if entry.skipped else f"{KEPT} keep"
        console.print(f"  {entry.name:<6}{entry.gate or 0.0:+8.3f}  {mark}")
    console.print(f"\ndas compress {checkpoint} --layers {','.join(plan.layers)}", soft_wrap=True)


def print_dry_run(job: Job, folder: Path, json: bool) -> None:
    """Say what a compression would do."""
    recovery = job.recovery
    splits = [split.describe() for split in job.data.splits]
    facts = {
        "schema_version": 1,
        "family": job.model.family,
        "task": job.model.task,
        "candidates": list(job.candidates),
        "skip": job.skip,
        "search_steps": 0 if job.settings.layers else job.search_steps,
        "recover_steps": recovery.steps,
        "recover_learning_rate": recovery.learning_rate,
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
    console.print(f"would skip {job.skip} of {len(job.candidates)} layers: {summarise(job.candidates)}")
    console.print(
        f"search {facts['search_steps']} steps, recovery {recovery.steps} steps at {recovery.learning_rate:.1e}"
    )
    for split in splits:
        console.print(f"{split['name']}: {split['rows']} {samples} of {', '.join(split['files'])}")
    for reason, keys in job.loaded.leftovers_by_reason.items():
        shown = f"{keys[0]}{', ...' if len(keys) > 1 else ''}"
        console.print(f"left over, {reason}: {len(keys)} keys ({shown})", style="dim")
    console.print(f"would write {folder}; nothing was trained or written", soft_wrap=True)
