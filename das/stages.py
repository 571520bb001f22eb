"""Commands beside the public API: plan, search, evaluate, verify."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import Checks, DasError, usage_error
from compressor.progress import QUIET, Progress, describe_seconds
from das.api.load_model import open_run_at

if TYPE_CHECKING:
    from compressor.data.splits import Split
    from compressor.models.steps import StepModel
    from compressor.saved_run.run_folder import Run
    from compressor.settings import Settings
    from compressor.tuning.tune_settings import TuneSettings
    from das.results import Answered, DryRun, Evaluated, Searched, TunePlan
    from exporters.verify import VerifyReport


def dry_run(settings: Settings, resume: bool = False) -> DryRun:
    """Open and check everything a compression needs; return its plan.

    Raises:
        DasError: as :func:`compressor.jobs.prepare_job.prepare_job` says.
    """
    from compressor.jobs.open_inputs import open_inputs
    from compressor.jobs.prepare_job import prepare_job
    from compressor.saved_run.run_places import destination
    from das.results import describe_job

    inputs = open_inputs(settings, lambda task: destination(settings, task, resume))
    assert inputs.folder
    return describe_job(prepare_job(settings, inputs=inputs), inputs.folder)


def plan_tuning(settings: TuneSettings, resume: bool = False) -> TunePlan:
    """Open and check everything a tuning needs; return its plan.

    Raises:
        DasError: as :func:`compressor.tuning.prepare_tuning.prepare_tuning` says.
    """
    from compressor.tuning.prepare_tuning import open_tuning, prepare_tuning
    from das.results import describe_tuning

    inputs = open_tuning(settings, resume)
    assert inputs.folder
    return describe_tuning(prepare_tuning(settings, inputs=inputs), inputs.folder)


def search(settings: Settings, progress: Progress = QUIET) -> Searched:
    """Search the layers to skip, and change nothing.

    Raises:
        DasError: as :func:`compressor.jobs.prepare_job.prepare_job` says.
    """
    from compressor.compression import Compression
    from das.results import Searched

    plan, search = Compression(settings, progress=progress).search()
    return Searched(plan=plan, search=search.result)


def evaluate(
    subject: str | Path,
    task: str | None = None,
    *,
    data: str | Path | None = None,
    columns: str | None = None,
    tokenizer: str | None = None,
    text_length: int | None = None,
    batch_size: int = 64,
    device: str | None = None,
    progress: Progress = QUIET,
) -> Evaluated:
    """Score a full checkpoint or a run on the evaluation split of its task, and on further splits there are.

    Raises:
        UsageError: an impossible batch size or task, or options that a run decides.
        InputError: checkpoint, tokenizer or data are missing or unusable.
    """
    from compressor.device import choose_device
    from compressor.evaluation.evaluate import evaluate as score
    from compressor.evaluation.open_data import open_for_evaluation
    from compressor.evaluation.remarks import remark_on
    from compressor.tasks import TASKS
    from das.results import Evaluated, SplitScore

    checks = Checks()
    named = _check_options(checks, columns, batch_size)
    with checks:
        place = choose_device(device)
    with progress.stage("Opening model and data"):
        folder = None if data is None else str(data)
        model, opened, notes = open_for_evaluation(Path(subject), task, folder, tokenizer, text_length, checks, named)
    for note in notes:
        progress.say(f"note: {note}")
    model.to(place)
    chosen, splits = TASKS[model.task], (opened.evaluation, *opened.extra)
    if not chosen.ranked:
        _say_duration(model, splits, progress)
    evaluations = [
        score(model, split, chosen, metrics=opened.metrics, batch_size=batch_size, progress=progress)
        for split in splits
    ]
    remarks = remark_on(evaluations[0], chosen, opened.labels)
    for remark in remarks:
        progress.say(f"warning: {remark}")
    scores = [
        SplitScore(**dict(entry.score), split=split.describe())
        for entry, split in zip(evaluations, splits, strict=True)
    ]
    apart = {entry.split["name"]: entry for entry in scores[1:]}
    return Evaluated(**dict(scores[0]), task=model.task, apart=apart, remarks=remarks)


def answer(
    subject: str | Path,
    split: str,
    to: str | Path,
    task: str | None = None,
    *,
    data: str | Path | None = None,
    columns: str | None = None,
    tokenizer: str | None = None,
    text_length: int | None = None,
    batch_size: int = 64,
    device: str | None = None,
    progress: Progress = QUIET,
) -> Answered:
    """Write a checkpoint's or a run's answers to every sample of a split, as the test server of the data takes them.

    Args:
        subject: a checkpoint or a run folder.
        split: a split of the data, with answers or without.
        to: the file, which is new.
        task: of the checkpoint; None takes its only head.
        data: folder of the data; None looks around.
        columns: that have names of their own.
        tokenizer: file, folder or Hugging Face name; None looks around.
        text_length: most tokens of a text.
        batch_size: samples that are answered in one call.
        device: ``cpu`` or ``cuda``.
        progress: told about the batches.

    Raises:
        UsageError: an impossible batch size, a task that is scored by ranking, or options that a run decides.
        InputError: checkpoint, tokenizer, data or ids are missing or unusable, or the file is there.
        EnvironmentProblem: it cannot be written.
    """
    from compressor.device import choose_device
    from compressor.distributed import is_main
    from compressor.evaluation.answer_files import answer_split, check_destination, check_written
    from compressor.evaluation.open_data import open_whole
    from compressor.files import write_text
    from compressor.tasks import TASKS
    from das.results import Answered, SplitScore

    checks, path = Checks(), Path(to)
    named = _check_options(checks, columns, batch_size)
    with checks:
        place = choose_device(device)
    with checks:
        check_destination(path)
    with progress.stage("Opening model and data"):
        folder = None if data is None else str(data)
        model, opened, notes = open_whole(Path(subject), split, task, folder, tokenizer, text_length, checks, named)
    chosen = TASKS[model.task]
    form, ids = check_written(opened, chosen)
    for note in notes:
        progress.say(f"note: {note}")
    _say_duration(model.to(place), (opened.every,), progress)
    texts, evaluation = answer_split(model, opened, chosen, batch_size=batch_size, progress=progress)
    fields = opened.ids, form.answer
    if is_main():
        write_text(path, form.write(fields, [*zip(ids, texts, strict=True)]))
    score = None
    if evaluation and opened.scored:
        score = SplitScore(**dict(evaluation.score), split=opened.scored.describe())
    return Answered(
        task=model.task,
        split=opened.every.describe(),
        file=str(path),
        answers=len(ids),
        fields=fields,
        form=form.form,
        use=form.use,
        score=score,
    )


def _check_options(checks: Checks, columns: str | None, batch_size: int) -> dict[str, str]:
    """Return the columns with names of their own; ``checks`` learns what is wrong with them or the batch size."""
    from compressor.settings import parse_columns

    named = dict[str, str]()
    with checks:
        named = parse_columns(columns) if columns is not None else {}
    with checks:
        if batch_size < 1:
            found = f"--batch-size {batch_size}"
            raise usage_error("batch-size-too-small", found, "at least 1 sample", "--batch-size 64")
    return named


def _say_duration(model: StepModel, splits: Sequence[Split], progress: Progress) -> None:
    """Say how long answering these splits takes, where it is long."""
    from compressor.training.expected_time import LONG, seconds_per_sample

    if progress is not QUIET:
        place = next(model.parameters()).device
        expected = sum(len(split) * seconds_per_sample(model, split, place) for split in splits)
        if expected >= LONG:
            progress.say(f"about {describe_seconds(expected)} on this machine, for {sum(map(len, splits)):,} samples")


def verify(
    run: Run | str | Path | None = None,
    *runtimes: str,
    device: str | None = None,
    data: str | Path | None = None,
    progress: Progress = QUIET,
) -> VerifyReport:
    """Compare a run's exports with PyTorch again, on this machine, and rewrite their records and the report.

    Args:
        run: a run, its folder, or None for runs/latest.
        runtimes: names or aliases of runtimes; all that execute files when empty.
        device: ``cpu`` or ``cuda``, for runtimes that have both; None takes CUDA where that works.
        data: folder of the samples; None is the run's own.
        progress: told about each export.

    Returns:
        The report, also of failures: :func:`exporters.verify.require_verified` raises for them.

    Raises:
        UsageError: an unknown runtime or device; what is wrong with run and data is said, too.
        InputError: no run or data there, or there are no exports.
        EnvironmentProblem: the device is not here.
    """
    from compressor.data.read_data import find_data
    from compressor.device import choose_device
    from compressor.evaluation.reference import open_reference
    from exporters.folder import exports_of
    from exporters.runtimes import RUNTIMES, find_runtimes
    from exporters.verify import runtime_device
    from exporters.verify import verify as verify_exports
    from profiles.reports.save import save_report

    checks, names = Checks(), runtimes or [runtime.name for runtime in RUNTIMES if runtime.suffix]
    with checks:
        choose_device(device)
    with checks:
        chosen = find_runtimes(names, executes_files=True)
        with checks:
            place = runtime_device(device, chosen)
    with checks:
        opened = open_run_at(run)
    with checks:
        if data is not None:
            find_data(data, None)
    checks.raise_found()
    reference = open_reference(opened, None if data is None else str(data))
    slim, samples, folder = opened.load_slim(), opened.samples(), exports_of(opened)
    try:
        report = verify_exports(slim, samples, reference, folder, chosen, progress, device=place)
    except BaseException:  # Ctrl-C, too: some records may be new, and the report must follow them
        with suppress(DasError):  # the failure itself matters more
            save_report(opened)
        raise
    save_report(opened)
    return report
