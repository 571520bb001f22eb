"""Build the report of a run from its folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean

from compressor.data.splits import Split
from compressor.families import FAMILIES
from compressor.models.layer_parts import BETWEEN, layers_of, part_of
from compressor.models.plan import Plan
from compressor.models.steps import steps_of
from compressor.saved_run.run_folder import Run
from compressor.search.result import LogEntry
from compressor.tasks import TASKS
from compressor.tasks.task import teacher_agreement
from exporters.folder import exports_of
from profiles.analysis.answer_flips import Flips, recorded_flips
from profiles.analysis.effects import find_alternatives
from profiles.comparison.full_vs_slim import PROFILE, NotMeasured, ProfileReport
from profiles.gates.budget_check import with_measured
from profiles.reports.compression_report import KEPT, REPLACED, Candidate, CompressionReport, ExportSummary


def build_report(run: Run, evaluation: Split | None = None) -> CompressionReport:
    """Return the contents of the run folder as one value.

    Args:
        run: a finished run.
        evaluation: the split it was evaluated on, where that is open already.

    Raises:
        InputError: a file of the run is damaged.
    """
    manifest, family = run.manifest, FAMILIES[run.manifest.family]
    steps = steps_of(family.rounds(family.dims_type(**manifest.dims)))
    layers = tuple(step.name for step in steps if step.pool)
    exports, profile, task = _exports(run), _profile(run), TASKS[manifest.task]
    flips, costs = recorded_flips(run, evaluation), manifest.costs
    return CompressionReport(
        run=run.path.name,
        family=manifest.family,
        task=manifest.task,
        checkpoint=manifest.source.path.rsplit("/", 1)[-1],
        strategy=manifest.strategy,
        picture=draw_layers(manifest.family, layers, manifest.plan.layers),
        skipped=manifest.plan.layers,
        candidates=describe_candidates(manifest.family, manifest.candidates, manifest.plan, run.search_log()),
        floor_name=(teacher_agreement(task) if not manifest.labelled else task).baseline.name,
        floor=manifest.results.floor,
        full=manifest.results.full,
        slim=manifest.results.slim,
        apart=manifest.results.apart,
        answer_agreement=manifest.results.answer_agreement,
        index=manifest.results.index,
        updated_parameters=manifest.updated_parameters,
        costs=costs,
        merged_tokens=manifest.dims.get("merged_tokens", ()),
        exports=exports,
        profile=profile,
        not_measured=_not_measured(run, exports, profile, flips),
        data=manifest.data,
        settings=manifest.settings,
        seconds=manifest.results.seconds,
        versions=manifest.versions,
        command=manifest.command,
        budget=with_measured(manifest.budget, costs.macs, costs.parameters, profile),
        flips=flips if isinstance(flips, Flips) else None,
        remarks=manifest.results.remarks,
    )


def describe_candidates(
    family: str, names: Sequence[str], plan: Plan, log: Sequence[LogEntry]
) -> tuple[Candidate, ...]:
    """Summarise the search's log for each candidate."""
    updates = [entry for entry in log if entry.gates]
    gates = (updates[-1].gates if updates else None) or {}

    def mean(name: str, skipped: bool) -> float | None:
        rewards = [entry.reward for entry in updates if (name in entry.layers) == skipped]
        return fmean(rewards) if rewards else None

    return tuple(
        Candidate(
            name=name,
            pool=FAMILIES[family].pool_of(name).name,
            skipped=name in plan.layers,
            gate=gates.get(name),
            reward_skipped=mean(name, True),
            reward_kept=mean(name, False),
            best=find_alternatives(log, name, plan.layers),
        )
        for name in names
    )


def draw_layers(family: str, layers: Sequence[str], skipped: Collection[str]) -> tuple[str, ...]:
    """Draw a full model's layers, a line for each pool: ■ stands for a kept layer, □ for a skip adapter.

    A layer some of whose parts are skipped is drawn as its parts, side by side.
    """
    kind, lines = FAMILIES[family], []
    split = layers_of([name for name in skipped if part_of(name)])
    for pool in kind.pools:
        names = kind.layer_order(tuple(name for name in layers if kind.pool_of(name) == pool))
        parts = {
            name: [f"{name}{BETWEEN}{part.name}" for part in kind.parts[pool.name]] for name in names if name in split
        }
        marks = ("".join(REPLACED if one in skipped else KEPT for one in parts.get(name, [name])) for name in names)
        lines.append(f"{pool.prefix:<4}{' '.join(marks)}")
    return tuple(lines)


def _exports(run: Run) -> tuple[ExportSummary, ...]:
    """Return every export that exists, and those that were removed because they failed their comparison."""
    return tuple(
        ExportSummary(file=entry.path.name, bytes=entry.bytes, parity=entry.record)
        for entry in exports_of(run).entries()
        if entry.exists or entry.record.status == "failed"
    )


def _profile(run: Run) -> ProfileReport | None:
    path = run.path / PROFILE
    return ProfileReport.model_validate_json(path.read_bytes()) if path.exists() else None


def _why_no_score(run: Run) -> str:
    """Say why there is no full score, and which commands give one."""
    why = "--adapt: it had no trained head"
    if run.manifest.plan.skip:
        return (
            f"{why}; das compress --from RUN --skip 0 --out REFERENCE, then the same command with --reference REFERENCE"
        )
    return f"{why}; this run is one for --reference"


def _not_measured(
    run: Run, exports: Sequence[ExportSummary], profile: ProfileReport | None, flips: Flips | NotMeasured
) -> tuple[NotMeasured, ...]:
    missing = [flips] if isinstance(flips, NotMeasured) else []
    if run.manifest.results.full is None:
        missing.append(NotMeasured(what="score of the full model", why=_why_no_score(run)))
    if not run.manifest.labelled:
        why = "no answers were given: das eval RUN --data FOLDER"
        missing.append(NotMeasured(what=TASKS[run.manifest.task].metric, why=why))
    missing += [
        NotMeasured(what=f"answers of {entry.file}", why=entry.parity.reason or "not executed")
        for entry in exports
        if entry.parity.status == "not verified"
    ]
    if not exports:
        missing.append(NotMeasured(what="exports", why="none yet: das export --onnx --trt"))
    if profile is None:
        missing.append(NotMeasured(what="latency, memory", why="not yet: das profile"))
    return (*missing, *(profile.not_measured if profile else ()))
