"""The Python API, and the only place that puts the parts together: the commands and the demo call these functions.

Everything heavy is imported by the function that needs it, so that ``import das`` and ``das --help`` are instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import Checks, DasError, usage_error
from compressor.progress import QUIET, Progress

if TYPE_CHECKING:
    from compressor.evaluation.evaluate_job import FullEvaluations
    from compressor.hub.hub_folder import SavedFolder
    from compressor.models.steps import StepModel
    from compressor.runs.run_folder import Run
    from compressor.settings import Settings
    from compressor.tuning.tuned import Tuned
    from compressor.vocabulary.trim_folder import TrimmedVocabulary
    from das.results import Exports
    from profiles.comparison.full_vs_slim import ProfileReport
    from profiles.macs.flops_report import FlopsReport
    from profiles.reports.compression_report import CompressionReport

UNNAMED = "onnxruntime"  # what is exported for where options are given and no runtime
ENGINE_BATCHES = (1, 8, 32)  # smallest, usual and largest batch of a TensorRT engine


def load(path: str | Path, task: str | None = None, image_size: int | None = None) -> StepModel:
    """Load a full checkpoint, a run folder or what ``das.tune`` left as an ``nn.Module`` in eval mode on the CPU.

    A run's slim model comes with its exact trims: it answers the same with less work, and is not for training.
    ``model(input_ids=..., attention_mask=..., pixel_values=...)`` returns logits (B, classes); ``model.family``,
    ``model.task`` and ``model.layers`` say what it is.

    Raises:
        InputError: nothing usable there.
        UsageError: the checkpoint has several heads and no ``task`` is given.
    """
    from compressor.checkpoints.build import load_checkpoint
    from compressor.runs.run_folder import is_run, open_run
    from compressor.tuning.tuned import is_tuned, open_tuned

    run, tuned = is_run(path), is_tuned(path)
    if (run or tuned) and (task or image_size):
        raise usage_error(
            "option-for-a-run", "task or image_size for a run", "neither: a run knows both", "das.load(run)"
        )
    if run:
        return open_run(path).load_slim()
    if tuned:
        return open_tuned(path).load()
    return load_checkpoint(path, task, image_size).model


def skip(model: StepModel, layers: Sequence[str]) -> StepModel:
    """Return a slim copy of ``model`` without ``layers`` (names or patterns): surgery alone, no search, no training.

    Raises:
        UsageError: no layer is named, or one that the model does not have.
    """
    from compressor.models.surgery import make_plan, remove_layers

    plan = make_plan(model, layers)
    if not plan.skip:
        fix = "das inspect on the checkpoint for the names"
        raise usage_error("no-layer-to-skip", "no layer to skip", "at least one layer name", fix)
    return remove_layers(model, plan)


def compress(
    checkpoint: str | Path | None = None,
    task: str | None = None,
    skip: int | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    max_macs: str | float | None = None,
    max_params: str | float | None = None,
    max_latency: str | float | None = None,
    max_drop: str | float | None = None,
    at: str | None = None,
    runtime: str | None = None,
    from_run: str | Path | None = None,
    scope: str | None = None,
    strategy: str | None = None,
    balanced: bool | None = None,
    merge_tokens: str | float | None = None,
    replace: str | None = None,
    recover: str | None = None,
    adapt: bool | None = None,
    train_head: bool | None = None,
    parallel_width: int | None = None,
    skip_width: int | None = None,
    reference: str | Path | None = None,
    data: str | Path | None = None,
    columns: str | Mapping[str, str] | None = None,
    holdout: str | Path | None = None,
    calibration: str | Path | None = None,
    tokenizer: str | Path | None = None,
    image_size: int | None = None,
    text_length: int | None = None,
    search_epochs: float | None = None,
    recover_epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = QUIET,
) -> Run:
    """Find the layers a model does not need, remove them, recover, and save the run with its report.

    What is None is taken from the run ``from_run``, else from the defaults of :class:`compressor.settings.Settings`.

    Args:
        checkpoint: a full fine-tuned checkpoint; None with ``from_run``.
        task: name of the task; None takes the checkpoint's only head.
        skip: number of layers to skip, 0 with ``adapt`` or ``merge_tokens``; None with ``layers`` or a budget.
        layers: names or patterns of the layers to skip, without a search.
        max_macs: budget on MACs, e.g. ``"0.8x"`` of the full model's or ``"40G"``.
        max_params: budget on parameters, e.g. ``"0.75x"`` or ``"200M"``.
        max_latency: budget on the latency of one sample, e.g. ``"0.7x"`` or ``"40ms"``.
        max_drop: most points of the score that may be lost on held-out data.
        at: quantile of ``max_latency``: p50, p90 or p99.
        runtime: runtime that ``max_latency`` is measured in.
        from_run: earlier run whose search, checkpoint and settings are used again.
        scope: layers that the search may skip: a scope of the family, or patterns.
        strategy: search strategy (docs/search.md).
        balanced: with strategy ``random``: as many layers of each pool.
        merge_tokens: share of the MACs of the vision layers left that merging tokens saves, e.g. ``"0.3x"``.
        replace: what stands in place of a skipped layer: ``adapter`` or ``none``.
        recover: ``train``, ``full``, ``closed-form`` or ``none``.
        adapt: the checkpoint is only pre-trained: train parallel adapters and a head, too.
        train_head: train the head while recovering.
        parallel_width: bottleneck of the adapters beside kept layers, with ``adapt``; None is the family's own.
        skip_width: bottleneck of the adapters in place of skipped layers; None is the family's own.
        reference: run with ``adapt`` and ``skip=0`` whose score stands as the full model's, which has no trained head.
        data: folder of the data; None looks around.
        columns: that have names of their own, by what they hold: ``"text=review,label=sentiment"``.
        holdout: file, folder or split that the layers are chosen on; None is the data's own (docs/data.md).
        calibration: folder of inputs without answers, in place of ``data``.
        tokenizer: file, folder or Hugging Face name; None looks around.
        image_size: pixels.
        text_length: most tokens of a text; longer ones are cut.
        search_epochs: passes over the data while searching.
        recover_epochs: passes over the data while recovering.
        batch_size: samples of a training step.
        learning_rate: of the skip adapters.
        seed: of everything that is drawn.
        device: ``cpu`` or ``cuda``.
        out: folder of the run; None is ``runs/<name>``.
        resume: go on with an interrupted run of the same settings.
        progress: told about every stage.

    Raises:
        UsageError: impossible options, all of them at once.
        CheckFailed: the budget cannot be reached, or the slim model misses it when it is measured; then it is kept.
        DasError: as :func:`compressor.jobs.prepare_job.prepare_job` says.
    """
    from compressor.search.reuse import settings_of
    from profiles.gates.budget_check import check_budget, with_runtime

    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "task": task,
        "skip": skip,
        "layers": layers,
        "max_macs": max_macs,
        "max_params": max_params,
        "max_latency": max_latency,
        "max_drop": max_drop,
        "at": at,
        "runtime": runtime,
        "scope": scope,
        "strategy": strategy,
        "balanced": balanced,
        "merge_tokens": merge_tokens,
        "replace": replace,
        "recover": recover,
        "adapt": adapt,
        "train_head": train_head,
        "parallel_width": parallel_width,
        "skip_width": skip_width,
        "reference": reference,
        "data": data,
        "columns": columns,
        "holdout": holdout,
        "calibration": calibration,
        "tokenizer": tokenizer,
        "image_size": image_size,
        "text_length": text_length,
        "search_epochs": search_epochs,
        "recover_epochs": recover_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "out": out,
    }
    settings = with_runtime(settings_of(from_run, **{name: x for name, x in options.items() if x is not None}))
    run, report = compress_and_report(settings, resume=resume, progress=progress)
    if report:
        check_budget(report.budget, run)
    return run


def compress_and_report(
    settings: Settings,
    *,
    command: str = "",
    resume: bool = False,
    progress: Progress = QUIET,
    known: FullEvaluations | None = None,
) -> tuple[Run, CompressionReport | None]:
    """Compress, measure the budget, and write the report; whether the budget holds is not checked.

    Compressions of one checkpoint that share ``known`` score its full model once.

    Returns:
        The run and its report; no report in all but the main one of several processes.
    """
    from functools import partial

    from compressor.compression import Compression
    from compressor.distributed import is_main
    from profiles.gates.budget_check import measure_budget
    from profiles.reports.save import save_report
    from profiles.timing.layers_isolated import layer_prices

    prices = partial(layer_prices, progress=progress)
    compression = Compression(
        settings, command=command, resume=resume, progress=progress, measure_prices=prices, known=known
    )
    compressed = compression.run()
    run, data = compressed.run, compressed.data
    if not is_main():
        return run, None
    measure_budget(run, compressed.full, progress)
    with progress.stage("Writing the report"):
        return run, save_report(run, data.evaluation if data else None)


def export(
    run: Run | str | Path | None = None,
    *formats: str,
    precision: str = "fp32",
    split: bool = False,
    batch: int | tuple[int, int, int] = ENGINE_BATCHES,
    text_length: int | None = None,
    attention: str | None = None,
    opset: int | None = None,
    workspace: int | None = None,
    device: str | None = None,
    data: str | Path | None = None,
    recommend: bool = False,
    progress: Progress = QUIET,
    checks: Checks | None = None,
) -> Exports:
    """Export a run's slim model to its ``exports`` folder, run what was exported, and compare it with PyTorch.

    Args:
        run: a run, its folder, or None for runs/latest.
        formats: names or aliases of the runtimes to export for: "onnx" (ONNX Runtime), "ov" (OpenVINO), "trt"
            (TensorRT); "best", or nothing with no option but ``data``, makes what runs fastest on this machine, and of
            the options takes ``data`` and the ``batch`` of the calls that are to be fast.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        split: also export the vision encoder as a graph of its own, for many questions on one image.
        batch: smallest, usual and largest batch of an engine; one number fixes the batch of the graph.
        text_length: tokens, fixed in the graph; None leaves the axis dynamic.
        attention: how attention is written in the graph (docs/exports.md); None is each runtime's own.
        opset: of the ONNX file; None leaves the choice to the exporter.
        workspace: bytes a TensorRT layer may use while it runs; None leaves the limit to TensorRT.
        device: that the files are made for and compared on, ``cpu`` or ``cuda``; None is CUDA where the runtimes work
            there.
        data: folder of the samples that exports are compared on; None is the run's own.
        recommend: time the run's ONNX exports against PyTorch, too, to tell which one to run here.
        progress: told about each stage.
        checks: of what options were read from; what they found is reported with what is wrong here.

    Raises:
        UsageError: everything that cannot be exported so, at once and before any weight is read.
        InputError: no run or data there.
        CheckFailed: an export does not answer as the model does; it is not kept.
        EnvironmentProblem: a runtime is missing.
    """
    from compressor.data.read_data import find_data
    from compressor.evaluation.reference import open_reference
    from das.results import Exports
    from exporters import export as exporting
    from exporters.check_request import check_request, check_run
    from exporters.folder import exports_of
    from exporters.graph.inputs import Fixed
    from exporters.runtimes import find_runtimes
    from exporters.usage import usage_of
    from exporters.verify import runtime_device
    from profiles.deployment.best import BEST_TARGET, check_best
    from profiles.deployment.best_export import export_best
    from profiles.deployment.recommend_export import compare_exports
    from profiles.deployment.ways import split_names
    from profiles.reports.save import save_report

    checks = checks or Checks()
    fixed_batch, batches = (batch, ENGINE_BATCHES) if isinstance(batch, int) else (None, batch)
    fixed = Fixed(fixed_batch, text_length)
    options: dict[str, Any] = {
        "precision": precision,
        "split": split,
        "fixed": fixed,
        "batch": batches,
        "attention": attention,
        "opset": opset,
    }
    given = {
        "--precision": precision != "fp32",
        "--split": split,
        "--batch": batches != ENGINE_BATCHES,
        "--text-length": text_length is not None,
        "--attention": attention is not None,
        "--opset": opset is not None,
        "--workspace": workspace is not None,
    }
    named = [option for option, is_given in given.items() if is_given]
    best = BEST_TARGET in split_names(formats) or not (formats or named or fixed_batch)
    with checks:
        if best:
            check_best(formats, named)
    with checks:
        wanted = [UNNAMED] if best else formats
        check_request(wanted, **options)
        options["device"] = runtime_device(device, find_runtimes(wanted, "--to", executes_files=True))
    with checks:
        opened = open_run_at(run)
        with checks:
            check_run(opened, fixed, split)
    with checks:
        if data is not None:
            find_data(data, None)
    checks.raise_found()
    options |= {"workspace": workspace, "progress": progress}
    try:
        reference = open_reference(opened, None if data is None else str(data))
        slim, folder = opened.load_slim(), exports_of(opened).path
        if best:
            place, calls = options["device"], fixed_batch or 1
            report, found = export_best(opened, slim, reference, calls, progress, device=place)
            save_report(opened)
            return Exports(**dict(report), choices=None, best=found)
        report = exporting.export(
            slim, opened.samples(), folder, formats, reference=reference, usage=usage_of(opened), **options
        )
    except DasError:
        with suppress(DasError):  # an export that is gone must leave the report, too; the failure itself matters more
            save_report(opened)
        raise
    save_report(opened)
    return Exports(**dict(report), choices=compare_exports(opened, progress) if recommend else None)


def profile(
    run: Run | str | Path | None = None,
    *,
    runtimes: Sequence[str] = (),
    precisions: Sequence[str] = (),
    batch: int = 1,
    threads: int | None = None,
    seconds: float = 20.0,
    device: str | None = None,
    questions_per_image: int | None = None,
    sweeps: Sequence[str] = (),
    layers: bool = False,
    command: str = "",
    progress: Progress = QUIET,
    checks: Checks | None = None,
) -> ProfileReport:
    """Measure a run's full model against its slim one, in turns; write profile.json and the report.

    Args:
        run: a run, its folder, or None for runs/latest.
        runtimes: names of runtimes, or "all"; when empty those used by default that can run on the device.
        precisions: ``fp32``, ``fp16``, ``bf16``, ``int8``, or "all"; when empty those that slim was exported in. Where
            runtimes are "all", or precisions are named, the report names the fastest way.
        batch: samples in one call.
        threads: CPU threads of every runtime; None is PyTorch's own choice.
        seconds: how long full and slim are timed in each runtime.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.
        questions_per_image: also time so many questions on one image: single graph against split export.
        sweeps: further settings to time, e.g. ``"batch=1,8,32"`` or ``"text-length=10,40"``.
        layers: also time every layer.
        command: the command line, for the report.
        progress: told about each stage.
        checks: of what the profile is for; what they found is reported with what is wrong here.

    Raises:
        UsageError: an unknown runtime or precision, or a number that cannot be.
        InputError: the full checkpoint is gone or has changed.
        EnvironmentProblem: a runtime, precision or device that was asked for is not here.
    """
    from profiles.comparison import profile_run
    from profiles.reports.save import save_report
    from profiles.timing.sweeps import Sweep, check_sweeps, parse_sweeps

    checks, parsed = checks or Checks(), tuple[Sweep, ...]()
    with checks:
        profile_run.check_settings(runtimes, precisions, device, batch, threads, seconds, questions_per_image)
    with checks:
        parsed = parse_sweeps(sweeps)
    with checks:
        opened = open_run_at(run)
        with checks:
            check_sweeps(parsed, opened)
        with checks:
            profile_run.check_questions(opened, questions_per_image)
    checks.raise_found()
    report = profile_run.measure_run(
        opened,
        runtimes=runtimes,
        precisions=precisions,
        batch=batch,
        threads=threads,
        seconds=seconds,
        device=device,
        questions_per_image=questions_per_image,
        sweeps=parsed,
        layers=layers,
        command=command,
        progress=progress,
    )
    if lost := profile_run.list_lost(opened, report):
        progress.say(f"note: the profile that this one replaces also had {'; '.join(lost)}")
    profile_run.save_profile(opened, report)
    save_report(opened)
    return report


def save(run: Run | str | Path | None = None, *, to: str | Path, progress: Progress = QUIET) -> SavedFolder:
    """Write a run's slim model as a folder of Hugging Face, and compare what transformers loads of it with the run's.

    Where the model has no adapters, the folder is one of the library's own; else it has a file with their code, and
    ``trust_remote_code=True`` or ``import das.hub`` is needed to load it (docs/save.md).

    Args:
        run: a run, its folder, or None for runs/latest.
        to: the folder, new or empty.
        progress: told about each stage.

    Raises:
        InputError: no run there, transformers has no class for its model, or the folder holds something.
        CheckFailed: transformers makes another model of the folder; it is not kept.
        EnvironmentProblem: the folder cannot be written.
    """
    from compressor.hub.hub_folder import check_folder, save_folder
    from compressor.hub.slim_tensors import find_format
    from das.model_card import write_card

    checks, folder = Checks(), Path(to)
    with checks:
        check_folder(folder)
    with checks:
        opened = open_run_at(run)
        with checks:
            find_format(opened.manifest.family, opened.manifest.task)
    checks.raise_found()
    return save_folder(opened, folder, lambda saved: write_card(opened, saved), progress)


def trim_vocabulary(
    source: Run | str | Path | None = None,
    *,
    texts: Sequence[str | Path],
    to: str | Path,
    progress: Progress = QUIET,
) -> TrimmedVocabulary:
    """Write a model with the tokens that texts can need and no others, as a folder of Hugging Face.

    Every text read is cut into the same tokens as before, which are numbered anew, and the model's output is the same:
    both are compared before the folder counts (docs/vocabulary.md).

    Args:
        source: a run, its folder, or a checkpoint, a folder of Hugging Face; None for runs/latest.
        texts: files of a text a line, tables, or folders of them.
        to: the folder, new or empty.
        progress: told about each stage.

    Raises:
        InputError: no run or checkpoint there, its model reads images, no texts, or the folder holds something.
        CheckFailed: with the smaller vocabulary a text gets other tokens, or the model answers otherwise; nothing is
            kept.
        EnvironmentProblem: the folder cannot be written.
    """
    from tempfile import TemporaryDirectory

    from compressor.hub.hub_folder import check_folder
    from compressor.runs.run_folder import Run, is_run
    from compressor.vocabulary.read_texts import read_texts
    from compressor.vocabulary.trim_folder import trim_folder
    from compressor.vocabulary.vocabulary_source import open_checkpoint, save_source
    from das.model_card import write_card, write_trimmed_card

    checks, folder, opened, read = Checks(), Path(to), None, list[str]()
    with checks:
        check_folder(folder)
    with checks:
        read = read_texts([Path(path) for path in texts], progress)
    if source is not None and not isinstance(source, Run) and not is_run(source):
        with checks:
            opened = open_checkpoint(Path(source))
        checks.raise_found()
        assert opened
        return trim_folder(opened, read, folder, progress=progress)
    with checks:
        run = open_run_at(source)
    checks.raise_found()
    with TemporaryDirectory() as place:
        saved, opened = save_source(run, Path(place) / "saved", lambda saved: write_card(run, saved), progress)
        return trim_folder(
            opened, read, folder, lambda trimmed: write_trimmed_card(run, saved, trimmed), progress=progress
        )


def tune(
    checkpoint: str | Path,
    method: str,
    task: str | None = None,
    *,
    data: str | Path | None = None,
    columns: str | Mapping[str, str] | None = None,
    tokenizer: str | Path | None = None,
    image_size: int | None = None,
    text_length: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = QUIET,
) -> Tuned:
    """Adapt a pre-trained checkpoint by a method of the paper's Table C, and save what was trained.

    What is None is taken from the defaults of :class:`compressor.tuning.tune_settings.TuneSettings`.

    Args:
        checkpoint: a pre-trained checkpoint.
        method: ``full``, ``bitfit``, ``prefix``, ``lora``, ``adapter`` or ``mam`` (docs/baselines.md).
        task: name of the task; None takes the family's only one.
        data: folder of the data; None looks around.
        columns: that have names of their own, by what they hold: ``"text=review,label=sentiment"``.
        tokenizer: file, folder or Hugging Face name; None looks around.
        image_size: pixels.
        text_length: most tokens of a text; longer ones are cut.
        epochs: passes over the data; None is the method's.
        batch_size: samples of a training step.
        learning_rate: peak of what the method trains; None is the method's.
        seed: of everything that is drawn.
        device: ``cpu`` or ``cuda``.
        out: folder of what is trained; None is ``runs/<name>``.
        resume: go on with an interrupted tuning of the same settings.
        progress: told about every stage.

    Raises:
        UsageError: impossible options, all of them at once.
        DasError: as :func:`compressor.tuning.tune.tune` says.
    """
    from compressor.settings import read_options
    from compressor.tuning.tune import tune as adapt
    from compressor.tuning.tune_settings import TuneSettings

    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "method": method,
        "task": task,
        "data": data,
        "columns": columns,
        "tokenizer": tokenizer,
        "image_size": image_size,
        "text_length": text_length,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "out": out,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return adapt(read_options(TuneSettings, "das.tune", given), progress, resume=resume)


def flops(
    family: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    text_length: int | None = None,
    skip_layers: Sequence[str] = (),
    parallel_adapters: bool = False,
    parallel_width: int | None = None,
    skip_width: int | None = None,
    merge_tokens: str | float | None = None,
    check: bool = False,
) -> FlopsReport:
    """Count the MACs of a family's published model, from its sizes alone.

    Args:
        family: as users type it, e.g. ``meter``.
        image_size: pixels, or height and width where the family reads images of any shape; None is the family's own.
        text_length: tokens; None is the family's own.
        skip_layers: names or patterns of layers replaced by their skip adapters.
        parallel_adapters: whether kept layers carry the paper's parallel adapters.
        parallel_width: their bottleneck; None is the family's own.
        skip_width: bottleneck of the skip adapters; None is the pool's own.
        merge_tokens: share of the MACs of the vision layers left that merging tokens saves, e.g. ``"0.3x"``.
        check: also count on the executed operators and on the traced graph, which takes a while.

    Raises:
        UsageError: an unknown family or layer, a size the family cannot have, or tokens that it cannot merge.
    """
    from profiles.macs.published import count_published

    return count_published(
        family,
        image_size=image_size,
        text_length=text_length,
        skip_layers=skip_layers,
        parallel_adapters=parallel_adapters,
        parallel_width=parallel_width,
        skip_width=skip_width,
        merge_tokens=merge_tokens,
        check=check,
    )


def open_run_at(run: Run | str | Path | None) -> Run:
    """Return the run itself, the one in a folder, or runs/latest.

    Raises:
        InputError: no run there.
    """
    from compressor.runs.run_folder import Run, open_run

    return run if isinstance(run, Run) else open_run(run)
