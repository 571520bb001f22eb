"""The report of a run: what was removed and why, what it cost, what it gained, and what was not measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import Field, ValidationError

from compressor.evaluation.evaluate import Score
from compressor.families import FAMILIES
from compressor.models.plan import Plan
from compressor.models.simplify import trim
from compressor.models.steps import steps_of
from compressor.run_folder import Run, ScorePair
from compressor.search.budgets import BudgetResult
from compressor.tasks import TASKS, teacher_agreement
from compressor.training.recovery import PARALLEL_ADAPTERS, SKIP_ADAPTERS
from compressor.values import Value
from exporters.checks.parity import RECORD, Parity, read_record
from exporters.export import EXPORTS
from exporters.graph.onnx import weight_bytes
from profiles.analysis.answer_flips import Flips, flips_of, flips_sentence, flips_table
from profiles.analysis.effects import Contrast, comparable, contrast
from profiles.comparison.full_vs_slim import PROFILE, NotMeasured, Pair, ProfileReport, Trims
from profiles.gates.budget_check import budget_sentence, tries_table, with_measured
from profiles.macs.parts import parameters, without_idle
from profiles.macs.traced import count
from profiles.reports.layer_tables import layer_tables
from profiles.reports.markdown import bullets, markdown_table
from profiles.tables import Table, costs_of, counts_sentences, latency_tables, peaks, quantity, size, verdicts
from profiles.timing.subjects import inputs_of

SCHEMA_VERSION = 1
REPORT, MARKDOWN = "report.json", "report.md"
BY_HAND = "by hand"  # the strategy of runs without a search
KEPT, REPLACED = "■", "□"


class Candidate(Value):
    """A layer the search could have skipped.

    ``gate`` is its final value, None without DAS. ``reward_skipped`` and ``reward_kept`` are mean rewards exp(-loss) of
    the subsets that moved the gates, those that skipped and those that kept it; ``score`` compares the held-out scores
    of subsets of one size (:func:`contrast`). None where there was no such subset.
    """

    name: str
    pool: str
    skipped: bool
    gate: float | None
    reward_skipped: float | None
    reward_kept: float | None
    score: Contrast | None


class Costs(Value):
    """MACs of one sample (1 MAC = 2 FLOPs), parameters, and bytes of the float32 weights; slim is with its trims."""

    macs: Pair
    macs_by_pool: dict[str, Pair]
    macs_by_layer: dict[str, Pair] = Field(default_factory=dict)
    trims: Trims
    parameters: Pair
    parameters_by_pool: dict[str, Pair]
    weight_bytes: Pair
    uncounted: tuple[str, ...]


class Export(Value):
    """One exported file and whether it answers like the slim model; one that does not was removed and has 0 bytes."""

    file: str
    bytes: int
    parity: Parity


class CompressionReport(Value):
    """Everything known about a run, as one value; terminal, JSON and Markdown only draw it."""

    schema_version: int = SCHEMA_VERSION
    run: str
    family: str
    task: str
    checkpoint: str
    strategy: str
    picture: tuple[str, ...]
    skipped: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    floor_name: str
    floor: float
    full: Score | None
    slim: Score
    apart: Mapping[str, ScorePair]
    answer_agreement: float | None
    updated_parameters: Mapping[str, int]
    costs: Costs
    exports: tuple[Export, ...]
    profile: ProfileReport | None
    not_measured: tuple[NotMeasured, ...]
    data: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    command: str
    budget: BudgetResult | None = None
    flips: Flips | None = None


def candidates_of(
    family: str, names: Sequence[str], plan: Plan, log: Sequence[Mapping[str, Any]]
) -> tuple[Candidate, ...]:
    """What the search's log says of each candidate."""
    pools = {pool.prefix: pool.name for pool in FAMILIES[family].pools}
    updates, groups = [entry for entry in log if "gates" in entry], comparable(log)
    gates: Mapping[str, float] = updates[-1]["gates"] if updates else {}

    def mean(name: str, skipped: bool) -> float | None:
        rewards = [entry["reward"] for entry in updates if (name in entry["layers"]) == skipped]
        return fmean(rewards) if rewards else None

    return tuple(
        Candidate(
            name=name,
            pool=pools[name.rstrip("0123456789")],
            skipped=name in plan.layers,
            gate=gates.get(name),
            reward_skipped=mean(name, True),
            reward_kept=mean(name, False),
            score=contrast(groups, name, "value"),
        )
        for name in names
    )


def picture(family: str, layers: Sequence[str], skipped: Collection[str]) -> tuple[str, ...]:
    """A full model's layers, a line for each pool: ■ stands for a kept layer, □ for a skip adapter."""
    lines = []
    for pool in FAMILIES[family].pools:
        names = FAMILIES[family].layer_order(tuple(n for n in layers if n.rstrip("0123456789") == pool.prefix))
        marks = " ".join(REPLACED if name in skipped else KEPT for name in names)
        lines.append(f"{pool.prefix:<4}{marks}")
    return tuple(lines)


def measure_costs(run: Run) -> Costs:
    """Count the full and the slim model, this one without and with its trims, on one real sample.

    Raises:
        InputError: the full checkpoint is gone or has changed.
    """
    sample = inputs_of(run, 1)
    full, saved = without_idle(run.load_full()), run.load_saved()
    slim = trim(saved)
    before, untrimmed, after = (count(model, sample) for model in (full, saved, slim))
    sizes = parameters(full), parameters(slim)
    return Costs(
        macs=Pair(full=before.total, slim=after.total),
        macs_by_pool={
            part: Pair(full=before.by_pool[part], slim=after.by_pool.get(part, 0)) for part in before.by_pool
        },
        macs_by_layer={name: Pair(full=macs, slim=after.by_step.get(name, 0)) for name, macs in before.by_step.items()},
        trims=Trims(before=untrimmed.total, after=after.total),
        parameters=Pair(full=sum(sizes[0].values()), slim=sum(sizes[1].values())),
        parameters_by_pool={part: Pair(full=sizes[0][part], slim=sizes[1].get(part, 0)) for part in sizes[0]},
        weight_bytes=Pair(full=weight_bytes(full), slim=weight_bytes(slim)),
        uncounted=tuple(entry.operator for entry in after.uncounted),
    )


def build_report(run: Run) -> CompressionReport:
    """Gather what the run folder holds; costs and changed answers are counted once and kept in report.json."""
    manifest, family = run.manifest, FAMILIES[run.manifest.family]
    steps = steps_of(family.rounds(family.dims_type(**manifest.dims)))
    layers = tuple(step.name for step in steps if step.pool)
    exports, profile, task = _exports(run), _profile(run), TASKS[manifest.task]
    earlier = _earlier(run)
    costs = earlier.costs if earlier else measure_costs(run)
    kept = earlier.flips if earlier else None
    flips = kept if kept and not kept.note else flips_of(run)
    return CompressionReport(
        run=run.path.name,
        family=manifest.family,
        task=manifest.task,
        checkpoint=manifest.source.path.rsplit("/", 1)[-1],
        strategy=manifest.strategy,
        picture=picture(manifest.family, layers, manifest.plan.layers),
        skipped=manifest.plan.layers,
        candidates=candidates_of(manifest.family, manifest.candidates, manifest.plan, run.search_log()),
        floor_name=(teacher_agreement(task) if manifest.settings.get("calibration") else task).baseline_name,
        floor=manifest.results.floor,
        full=manifest.results.full,
        slim=manifest.results.slim,
        apart=manifest.results.apart,
        answer_agreement=manifest.results.answer_agreement,
        updated_parameters=manifest.updated_parameters,
        costs=costs,
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
    )


def _earlier(run: Run) -> CompressionReport | None:
    """The report that was written before, if it can be read: what a run costs and answers does not change."""
    try:
        return CompressionReport.model_validate_json((run.path / REPORT).read_bytes())
    except (OSError, ValidationError):
        return None


def _exports(run: Run) -> tuple[Export, ...]:
    """Every export that is there, and every one that was removed because it failed its comparison."""
    found = []
    for path in sorted((run.path / EXPORTS).glob(f"*{RECORD}")):
        exported = path.with_name(path.name.removesuffix(RECORD))
        parity = read_record(exported)
        if exported.exists() or parity.status == "failed":
            files = exported.parent.glob(exported.name + "*")
            size_of = sum(file.stat().st_size for file in files if not file.name.endswith(".json"))
            found.append(Export(file=exported.name, bytes=size_of, parity=parity))
    return tuple(found)


def _profile(run: Run) -> ProfileReport | None:
    path = run.path / PROFILE
    return ProfileReport.model_validate_json(path.read_bytes()) if path.exists() else None


def _not_measured(
    run: Run, exports: Sequence[Export], profile: ProfileReport | None, flips: Flips | NotMeasured
) -> tuple[NotMeasured, ...]:
    missing = [flips] if isinstance(flips, NotMeasured) else []
    if run.manifest.results.full is None:
        missing.append(NotMeasured(what="score of the full model", why="--adapt: it had no trained head"))
    if run.manifest.settings.get("calibration"):
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


def accuracy_table(report: CompressionReport) -> Table:
    """Full, slim and floor."""

    def row(name: str, score: Score) -> tuple[str, ...]:
        return name, f"{100 * score.value:.2f} ± {100 * score.margin:.2f}", f"{score.loss:.3f}", str(score.samples)

    rows = [row("full model", report.full)] if report.full else []
    rows.append(row("slim model", report.slim))
    if report.full:
        drop = 100 * (report.slim.value - report.full.value)
        rows.append(("difference", f"{drop:+.2f}", f"{report.slim.loss - report.full.loss:+.3f}", ""))
    rows.append((report.floor_name, f"{100 * report.floor:.2f}", "", ""))
    rows += _parts(report.full, report.slim)
    for name, pair in report.apart.items():
        rows += [row(f"{name}, full", pair.full)] if pair.full else []
        rows += [row(f"{name}, slim", pair.slim), *_parts(pair.full, pair.slim)]
    return Table(f"{report.slim.metric}, %", ("", report.slim.metric, "loss", "n"), tuple(rows))


def _parts(full: Score | None, slim: Score) -> list[tuple[str, ...]]:
    """A row for each further metric: full, then slim."""
    before = {} if full is None else full.parts
    return [
        (
            f"  {name}",
            " -> ".join(f"{100 * found[name]:.2f}" for found in (before, slim.parts) if name in found),
            "",
            "",
        )
        for name in slim.parts
    ]


def costs_table(report: CompressionReport) -> Table:
    """MACs, parameters, weights and, once it was measured, memory of full and slim."""
    costs, memory = report.costs, peaks(report.profile) if report.profile else {}
    sizes = {"weights, float32": costs.weight_bytes, **memory}
    return costs_of(costs.macs, costs.macs_by_pool, costs.trims, costs.parameters, sizes)


def gates_table(report: CompressionReport) -> Table:
    """Why each layer stayed or went: the highest gates are the redundant layers."""

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


def scores_table(report: CompressionReport) -> Table:
    """What skipping each layer did to the scores of the search: what does least harm first."""
    compared = [(entry, entry.score) for entry in report.candidates if entry.score]
    rows = [
        (
            entry.name,
            f"{100 * score.skipped:.2f}",
            f"{100 * score.kept:.2f}",
            f"{REPLACED} skipped" if entry.skipped else f"{KEPT} kept",
        )
        for entry, score in sorted(compared, key=lambda pair: -pair[1].effect)
    ]
    header = ("layer", "score when skipped", "when kept", "")
    return Table("Why these layers (mean held-out score in %)", header, tuple(rows))


def exports_table(report: CompressionReport) -> Table:
    """Each exported file and its parity."""
    rows = []
    for entry in report.exports:
        parity = entry.parity
        error = "" if parity.max_abs_error is None else f"{parity.max_abs_error:.1e}"
        agreement = "" if parity.answer_agreement is None else f"{parity.answer_agreement:.1%}"
        rows.append((entry.file, size(entry.bytes) if entry.bytes else "", error, agreement, parity.status))
    return Table("Exports", ("file", "size", "max error", "agreement", "parity"), tuple(rows))


def sentences(report: CompressionReport) -> tuple[str, ...]:
    """The result in words."""
    pair, saved = report.costs.macs, 100 * -report.costs.macs.difference / report.costs.macs.full
    by_hand = report.strategy == BY_HAND
    what = "layers removed, named by hand" if by_hand else f"of {len(report.candidates)} candidate layers removed"
    how = "" if by_hand else f" (strategy {report.strategy})"
    count = len(report.skipped)
    what = what.replace("layers", "layer", 1) if by_hand and count == 1 else what
    lines = [f"{count} {what}{how}: {', '.join(report.skipped)}."]
    lines += _agreement(report) if report.settings.get("calibration") else _scores(report)
    if report.updated_parameters:
        lines.append(_updated(report.updated_parameters))
    lines.append(f"MACs {quantity(pair.full)} -> {quantity(pair.slim)} ({saved:.1f} % fewer).")
    lines += [budget_sentence(report.budget, report.full, report.slim)] if report.budget else []
    lines += verdicts(report.profile) if report.profile else ()
    failed = [entry for entry in report.exports if entry.parity.status == "failed"]
    lines += [f"{entry.file} failed its comparison and was removed: {entry.parity.reason}." for entry in failed]
    return tuple(lines)


def _agreement(report: CompressionReport) -> list[str]:
    """How far the slim model follows the full one, where nothing else says what is right."""
    score = report.slim
    return [
        f"The slim model gives the full model's answer to {score.value:.1%} ± {100 * score.margin:.1f} "
        f"of {score.samples} {TASKS[report.task].samples} that were set aside.",
        "No answers were given: this is agreement with the full model; how often either is right was not measured.",
    ]


def _scores(report: CompressionReport) -> list[str]:
    """What the score lost, and how many answers changed."""
    lines = []
    if report.full:
        drop = 100 * (report.full.value - report.slim.value)
        word = "lost" if drop >= 0 else "gained"
        noise = 100 * max(report.full.margin, report.slim.margin)
        lines.append(
            f"{report.slim.metric} {word} {abs(drop):.2f} points"
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


def _updated(counts: Mapping[str, int]) -> str:
    """Trained parameters, and how many of them papers would count: the projections of the adapters."""
    paper = counts.get(SKIP_ADAPTERS, 0) + counts.get(PARALLEL_ADAPTERS, 0)
    others = {name: n for name, n in counts.items() if name not in (SKIP_ADAPTERS, PARALLEL_ADAPTERS)}
    beside = ", ".join(f"{name} {quantity(n)}" for name, n in others.items())
    return f"Updated parameters: {quantity(paper)} in adapters, as the paper counts them; besides {beside}."


def tables(report: CompressionReport) -> tuple[Table, ...]:
    """Every table of the report, in order."""
    found = [accuracy_table(report), costs_table(report)]
    if report.flips and report.flips.total.changed:
        found.append(flips_table(report.flips))
    if report.budget and report.budget.tries:
        found.append(tries_table(report.budget))
    if report.profile:
        found += [*latency_tables(report.profile), *layer_tables(report.profile)]
    if report.exports:
        found.append(exports_table(report))
    if any(entry.gate is not None for entry in report.candidates):
        found.append(gates_table(report))
    elif any(entry.score for entry in report.candidates):
        found.append(scores_table(report))
    return tuple(found)


def split_lines(report: CompressionReport) -> tuple[str, ...]:
    """Each split in a line: files, size, fingerprint, and what was left out of it."""
    return tuple(_split(split, TASKS[report.task].samples) for split in report.data)


def _split(split: Mapping[str, Any], samples: str) -> str:
    """One split in a line, with the first of its rows that could not be used."""
    bad = split["unreadable"]
    left_out = [f"{split['dropped']} that no answer of the vocabulary fits"] if split["dropped"] else []
    left_out += [f"{len(bad)} unreadable ({'; '.join(bad[:3])}{'; ...' if len(bad) > 3 else ''})"] if bad else []
    beside = f", left out: {', '.join(left_out)}" if left_out else ""
    found = f"{split['name']}: {', '.join(split['files'])}, {split['rows']} {samples}"
    found += f", answers: {split['answers']}" if "answers" in split else ""
    return f"{found}, fingerprint {split['fingerprint']}{beside}"


def counted(report: CompressionReport) -> tuple[str, ...]:
    """What the MACs leave out, and how far the three counts of them agree."""
    counts = report.profile.counts if report.profile else None
    left_out = "Not counted in the MACs: " + ", ".join(report.costs.uncounted) + "."
    return (left_out, *(counts_sentences(counts) if counts else ()))


def report_markdown(report: CompressionReport) -> str:
    """The report as a Markdown page."""
    parts = [f"# {report.checkpoint}: {len(report.skipped)} layers skipped", bullets(sentences(report))]
    parts.append("```text\n" + "\n".join(report.picture) + f"\n\n{KEPT} kept   {REPLACED} skip adapter\n```")
    for table in tables(report):
        parts += [f"## {table.title}", markdown_table(table.header, table.rows)]
    parts += [bullets(counted(report))]
    if report.not_measured:
        parts += ["## Not measured", bullets([f"{entry.what}: {entry.why}" for entry in report.not_measured])]
    parts += ["## How", bullets([f"command: `{report.command or 'Python API'}`", *split_lines(report)])]
    return "\n\n".join(parts) + "\n"
