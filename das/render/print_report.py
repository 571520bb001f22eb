"""The compression report and the results of search, dry run, eval and predict in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.panel import Panel

from compressor.data.splits import describe_dropped
from compressor.models.plan import summarise
from compressor.progress import describe_seconds
from compressor.search.strategies import STRATEGIES
from compressor.tasks import TASKS
from compressor.tuning.methods import METHODS
from compressor.tuning.tuned import Tuned
from das.render.rich_tables import draw
from das.results import Answered, DryRun, Evaluated, Searched, SplitScore, TunePlan
from das.terminal import WIDTH, console
from profiles.formatting import HEADER, Table, format_count
from profiles.reports.compression_report import CompressionReport
from profiles.reports.compression_tables import tabulate_report
from profiles.reports.profile_tables import describe_variants, tabulate_variants
from profiles.reports.sentences import describe_macs, describe_result, describe_splits
from profiles.reports.summary import SummaryRow, summarise_report

TRAINED = ": adapters and head are trained"  # where nothing is skipped
BAR = 20  # characters of a bar that stands for the full model
SHARE = "slim of full"  # over the bars


def print_report(report: CompressionReport, folder: Path, details: bool = False) -> None:
    """Draw the report of the run in ``folder`` within 80 columns: one screen, or with ``details`` every table."""
    console.print(Panel("\n".join(describe_result(report)), title=f"{report.checkpoint}, {report.task}", width=WIDTH))
    for line in report.picture:
        console.print(f"  {line}")
    console.print(f"  {report.legend}\n", style="dim")
    console.print(draw(_bars(summarise_report(report, times=False))))
    if report.profile:
        console.print(draw(tabulate_variants(report.profile)))
        for line in describe_variants(report.profile):
            console.print(line, style="dim")
        console.print()
    if details:
        for table in tabulate_report(report):
            console.print(draw(table))
        for line in (*describe_macs(report), *describe_splits(report.data, report.task)):
            console.print(line, style="dim")
        for entry in report.not_measured:
            console.print(f"not measured, {entry.what}: {entry.why}", style="dim")
    elif report.not_measured:
        names = ", ".join(dict.fromkeys(entry.what for entry in report.not_measured))
        console.print(f"Not measured: {names} (why: --details).", style="dim")
    console.print(f"\nrun folder: {folder} (report.html, report.md, report.json)", soft_wrap=True)


def _bars(rows: Sequence[SummaryRow]) -> Table:
    """Return full and slim side by side, and bars of slim as a share of full."""
    cells = ((row.name, row.full, row.slim, row.change, "" if row.share is None else _bar(row.share)) for row in rows)
    return Table("", ("", "full", "slim", "change", SHARE), tuple(cells))


def _bar(share: float) -> str:
    filled = min(BAR, round(share * BAR))
    return "█" * filled + "░" * (BAR - filled)


def print_search(checkpoint: Path, result: Searched, options: Mapping[str, str]) -> None:
    """Draw the choice for every number of layers, what the search cost, and the command that acts on it.

    The command has those options, by the names of settings.
    """
    record, rows = result.search, []
    for size, layers in sorted(record.chosen.items()):
        saved = sum(record.macs_saved[name] for name in layers)
        score = f"{100 * record.point(layers).value:.2f}"
        rows.append((str(size), score, f"{-saved / record.macs:+.1%}", summarise(layers)))
    title = f"{record.metric}, %, of {record.samples} held-out samples; full model {100 * record.full.value:.2f}"
    console.print(draw(Table(title, ("skip", record.metric, "MACs by layers", "layers"), tuple(rows))))
    forwards = sum(record.forwards.values())
    console.print(f"Strategy {record.strategy}: as much work as {forwards:,.0f} forward passes of the full model.")
    again = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    command = ["das", "compress", str(checkpoint), "--layers", ",".join(result.plan.layers), *again]
    console.print(f"\n{shlex.join(command)}", soft_wrap=True)


def print_dry_run(outlook: DryRun) -> None:
    """Print the plan of a compression."""
    samples = TASKS[outlook.task].samples
    console.print(f"{outlook.family} for {outlook.task}, on {outlook.device}")
    goal = f"as many as {outlook.budget} needs" if outlook.budget else outlook.skip
    among = f"{goal} of {len(outlook.candidates)} layers: {summarise(outlook.candidates)}"
    merges = outlook.merge_tokens is not None
    console.print(f"would skip {among if outlook.candidates else f'no layer{TRAINED * (not merges)}'}")
    if merges:
        console.print(f"would merge tokens: {outlook.merge_tokens} of what the vision layers left compute is saved")
    if outlook.strategy:
        steps = f", {outlook.search_steps} training steps" if outlook.search_steps else ""
        console.print(f"strategy {outlook.strategy}: {STRATEGIES[outlook.strategy].description}{steps}", soft_wrap=True)
    rate = outlook.recover_learning_rate
    console.print(f"recovery {outlook.recover}{f': {outlook.recover_steps} steps at {rate:.1e}' if rate else ''}")
    for split in outlook.data:
        console.print(f"{split['name']}: {split['rows']} {samples} of {', '.join(split['files'])}")
        _print_left_out(split)
    _print_leftovers(outlook.leftovers)
    console.print(f"time: {outlook.expected.describe()}")
    if outlook.seeds is not None:
        console.print(_describe_seeds(outlook))
    console.print(f"would write {outlook.out}; nothing was trained or written", soft_wrap=True)


def _describe_seeds(outlook: DryRun) -> str:
    """Say which seeds are still to be run, and how long all of them take."""
    seeds = outlook.seeds or ()
    if not seeds:
        return "every seed is finished"
    total = describe_seconds(len(seeds) * outlook.expected.total)
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: so much for each, about {total} for all"


def print_tune_plan(outlook: TunePlan) -> None:
    """Print the plan of a tuning."""
    samples, method = TASKS[outlook.task].samples, METHODS[outlook.method]
    console.print(f"{outlook.family} for {outlook.task}, on {outlook.device}")
    console.print(f"would train by {method.title} ({method.source})")
    console.print(f"{outlook.steps} steps at {outlook.learning_rate:.1e}, the head at {outlook.head_learning_rate:.1e}")
    console.print(draw(_tabulate_tuning(outlook)))
    _print_added(outlook)
    for split in outlook.data:
        console.print(f"{split['name']}: {split['rows']} {samples} of {', '.join(split['files'])}", soft_wrap=True)
        _print_left_out(split)
    _print_leftovers(outlook.leftovers)
    console.print(f"time: {outlook.expected.describe()}")
    console.print(f"would write {outlook.out}; nothing was trained or written", soft_wrap=True)


def print_tuned(tuned: Tuned, folder: Path) -> None:
    """Draw the score of a tuning, what it trained and what it adds."""
    method, samples = METHODS[tuned.method], TASKS[tuned.task].samples
    console.print(f"{tuned.family} for {tuned.task}, by {method.title} ({method.source})", style="bold")
    for name, score in {tuned.evaluation_split: tuned.score, **tuned.apart}.items():
        margin = f"{100 * score.value:.2f} ± {100 * score.margin:.2f} %"
        console.print(f"{name}: {score.metric} {margin} on {score.samples:,} {samples}, loss {score.loss:.4f}")
    console.print(f"a guesser that sees less: {100 * tuned.floor:.2f} %")
    console.print(draw(_tabulate_tuning(tuned)))
    _print_added(tuned)
    rates = f"peak rate {tuned.learning_rate:.1e}, the head's {tuned.head_learning_rate:.1e}"
    seconds = describe_seconds(tuned.seconds.get("train", 0.0))
    console.print(f"{tuned.steps:,} steps in {seconds}, {rates}")
    console.print(f"\nfolder: {folder}", soft_wrap=True)


def _tabulate_tuning(tuned: Tuned | TunePlan) -> Table:
    """Return what is trained, by what it is."""
    updated = tuned.updated_parameters
    parts = ((f"  {part}", format_count(count)) for part, count in updated.items())
    return Table("", ("trained", "parameters"), (("all", format_count(sum(updated.values()))), *parts))


def _print_added(tuned: Tuned | TunePlan) -> None:
    added = f"+{format_count(tuned.additional_macs)}" if tuned.additional_macs else "none"
    console.print(f"additional {HEADER} of one sample: {added}")


def print_scores(scores: Evaluated) -> None:
    """Draw the score of every split that was evaluated."""
    for score in (scores, *scores.apart.values()):
        _print_score(score, TASKS[scores.task].samples)


def _print_score(score: SplitScore, samples: str) -> None:
    margin = f"{100 * score.value:.2f} ± {100 * score.margin:.2f} %"
    console.print(f"{score.split['name']}: {score.metric} {margin}")
    for name, value in score.parts.items():
        console.print(f"  {name} {100 * value:.2f}")
    files = ", ".join(score.split["files"])
    loss = "" if score.loss is None else f", loss {score.loss:.4f}"
    console.print(f"  on {score.samples} {score.unit or samples} of {files}{loss}")
    _print_left_out(score.split)


def print_answered(answered: Answered) -> None:
    """Print what a file of answers is worth, where that is known, what it is, and what to do with it."""
    samples = TASKS[answered.task].samples
    if answered.score:
        _print_score(answered.score, samples)
    else:
        console.print(f"{answered.split['name']}: no answers in {', '.join(answered.split['files'])}, so no score")
    fields = " and ".join(answered.fields)
    console.print(f"{answered.answers:,} {samples} answered: {answered.form} of {fields}", soft_wrap=True)
    console.print(f"{answered.file}: {answered.use}", soft_wrap=True)


def _print_leftovers(leftovers: Mapping[str, tuple[str, ...]]) -> None:
    for reason, keys in leftovers.items():
        examples = f"{keys[0]}{', ...' if len(keys) > 1 else ''}"
        console.print(f"left over, {reason}: {len(keys)} keys ({examples})", style="dim")


def _print_left_out(split: Mapping[str, Any]) -> None:
    if dropped := split["dropped"]:
        console.print(f"  {describe_dropped(dropped, split['rows'], split.get('left_out', ''))}", soft_wrap=True)
    if bad := split["unreadable"]:
        console.print(f"  {len(bad)} left out that cannot be used, the first is {bad[0]}", markup=False, soft_wrap=True)
