"""The report of a run in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.costs.model_costs import ModelCosts, share_macs
from compressor.data.splits import describe_dropped
from compressor.evaluation.score import IndexRecall
from compressor.models.layer_parts import part_of
from compressor.models.plan import summarise
from compressor.search.budgets import describe_drop
from compressor.settings import Choice
from compressor.tasks import TASKS
from compressor.training.recovery import PARALLEL_ADAPTERS, SKIP_ADAPTERS
from profiles.analysis.answer_flips import flips_sentence
from profiles.formatting import format_count
from profiles.gates.budget_check import budget_sentence
from profiles.reports.compression_report import CompressionReport
from profiles.reports.profile_tables import describe_counts, describe_speedups


def describe_result(report: CompressionReport) -> tuple[str, ...]:
    """Return the result in words."""
    lines = [*report.remarks, _removed(report)]
    lines += _scores(report) if report.labelled else _agreement(report)
    lines += [describe_index(report.index)] if report.index else []
    if report.updated_parameters:
        lines.append(_updated(report.updated_parameters))
    lines += [_merged(report)] if report.merged_tokens else []
    lines.append(describe_cut(report.costs))
    lines += [_full_of_adapt(report)] if report.settings.adapt else []
    lines += [budget_sentence(report.budget, report.full, report.slim)] if report.budget else []
    lines += describe_speedups(report.profile) if report.profile else ()
    failed = [entry for entry in report.exports if entry.parity.status == "failed"]
    lines += [f"{entry.file} failed its comparison and was removed: {entry.parity.reason}." for entry in failed]
    return tuple(lines)


def _removed(report: CompressionReport) -> str:
    """Say which layers are gone, and who chose them."""
    count, in_parts = len(report.skipped), any(map(part_of, report.skipped))
    what, names = ("part", summarise(report.skipped)) if in_parts else ("layer", ", ".join(report.skipped))
    if report.strategy == Choice.NOTHING:
        trained = ": parallel adapters and head were trained" if report.settings.adapt else ""
        return f"No layer removed{trained} (--skip 0)."
    if report.strategy == Choice.NAMED:
        return f"{count} {what}{'s' * (count != 1)} removed, named by hand: {names}."
    of = f"candidate {what}s" if what == "layer" else "parts of layers"
    return f"{count} of {len(report.candidates)} {of} removed (strategy {report.strategy}): {names}."


def _merged(report: CompressionReport) -> str:
    """Say how many tokens of an image the vision layers merge."""
    counts = [count for count in report.merged_tokens if count]
    each = f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    asked = f"--merge-tokens {report.settings.merge_tokens}"
    return f"Tokens merged in the vision layers ({asked}): {sum(counts)} of an image, {each} a layer."


def _full_of_adapt(report: CompressionReport) -> str:
    """Say what stands for the full model where that has no trained head."""
    sentence = "The full model of these MACs is the checkpoint without any adapter"
    reference = report.settings.reference
    score = f"; the full score is that of {Path(reference).name}, which skips nothing" if reference else ""
    return f"{sentence}{score}."


def describe_cut(costs: ModelCosts) -> str:
    """Return the MACs of full and slim, what layers and exact trims save of them, and what the trims alone would."""
    full, slim = (format_count(macs, like=costs.macs.full) for macs in (costs.macs.full, costs.macs.slim))
    alone = costs.trims.full_after
    same = f" (the full model trimmed the same way: {100 * alone / costs.macs.full:.1f} %)" if alone else ""
    return f"MACs {full} -> {slim}, {share_macs(costs.macs, costs.trims)}{same}."


def _agreement(report: CompressionReport) -> list[str]:
    """Describe the agreement with the full model, where the data has no labels."""
    score = report.slim
    if TASKS[report.task].taught:
        return [
            f"{score.metric}: {score.value:.1%} ± {100 * score.margin:.1f}, of {score.samples} "
            f"{TASKS[report.task].samples} that were set aside. Nobody judged them: how well either model ranks "
            "was not measured."
        ]
    return [
        f"The slim model gives the full model's answer to {score.value:.1%} ± {100 * score.margin:.1f} "
        f"of {score.samples} {TASKS[report.task].samples} that were set aside.",
        "No answers were given: this is agreement with the full model; how often either is right was not measured.",
    ]


def _scores(report: CompressionReport) -> list[str]:
    """Describe the change of the score and of the answers."""
    lines = []
    if report.full:
        drop = 100 * (report.full.value - report.slim.value)
        noise = 100 * max(report.full.margin, report.slim.margin)
        lines.append(
            f"{report.slim.metric}: {describe_drop(drop)}"
            + (f", within the sampling margin of ± {noise:.2f}." if abs(drop) < noise else ".")
        )
    if report.flips:
        lines.append(flips_sentence(report.flips))
    elif report.answer_agreement is not None:
        lines.append(
            f"Full and slim model give the same answer to {report.answer_agreement:.1%} "
            f"of the {TASKS[report.task].samples}."
        )
    return lines


def describe_index(index: IndexRecall) -> str:
    """Say what slim queries find in an index that the full model made, which then need not be made again."""
    kept = f"{index.slim_on_full / index.full_on_full:.1%}" if index.full_on_full else "none"
    return (
        f"On the full model's index slim queries keep {kept} of recall@{index.at}: "
        f"{100 * index.slim_on_full:.2f} of {100 * index.full_on_full:.2f} % of {index.sought}, "
        f"± {100 * index.margin:.2f} points query by query; on an index of its own slim finds "
        f"{100 * index.slim_on_slim:.2f} %."
    )


def _updated(counts: Mapping[str, int]) -> str:
    """Describe the trained parameters; papers count only the projections of the adapters."""
    paper = counts.get(SKIP_ADAPTERS, 0) + counts.get(PARALLEL_ADAPTERS, 0)
    others = {name: n for name, n in counts.items() if name not in (SKIP_ADAPTERS, PARALLEL_ADAPTERS)}
    rest = ", ".join(f"{name} {format_count(n)}" for name, n in others.items())
    if not paper:
        return f"Updated parameters: {rest}."
    return f"Updated parameters: {format_count(paper)} in adapters, as the paper counts them; besides {rest}."


def describe_macs(report: CompressionReport) -> tuple[str, ...]:
    """Name the uncounted operators, and describe the agreement of the three counts."""
    counts = report.profile.counts if report.profile else None
    left_out = "Not counted in the MACs: " + ", ".join(report.costs.uncounted) + "."
    return (left_out, *(describe_counts(counts) if counts else ()))


def describe_splits(data: Sequence[Mapping[str, Any]], task: str) -> tuple[str, ...]:
    """Describe each split in a line: files, size, fingerprint, and rows that were left out."""
    return tuple(_split(split, TASKS[task].samples) for split in data)


def _split(split: Mapping[str, Any], samples: str) -> str:
    """Describe one split in a line, with the first of its rows that could not be used."""
    bad = split["unreadable"]
    why = split.get("left_out", "")
    beside = f", {describe_dropped(split['dropped'], split['rows'], why)}" if split["dropped"] else ""
    beside += f", {len(bad)} unreadable ({'; '.join(bad[:3])}{'; ...' if len(bad) > 3 else ''})" if bad else ""
    line = f"{split['name']}: {', '.join(split['files'])}, {split['rows']} {samples}"
    line += f", answers: {split['answers']}" if "answers" in split else ""
    return f"{line}, fingerprint {split['fingerprint']}{beside}"
