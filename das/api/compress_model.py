"""``das.compress``: from a checkpoint to a run and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.progress import QUIET, Progress

if TYPE_CHECKING:
    from compressor.evaluation.evaluate_job import FullEvaluations
    from compressor.saved_run.run_folder import Run
    from compressor.settings import Settings
    from profiles.reports.compression_report import CompressionReport


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
    granularity: str | None = None,
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
        granularity: ``layer``, or ``half`` for attention and feed-forward each for itself (docs/half-layers.md).
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

    settings = settings_of(
        from_run,
        checkpoint=checkpoint,
        task=task,
        skip=skip,
        layers=layers,
        max_macs=max_macs,
        max_params=max_params,
        max_latency=max_latency,
        max_drop=max_drop,
        at=at,
        runtime=runtime,
        scope=scope,
        granularity=granularity,
        strategy=strategy,
        balanced=balanced,
        merge_tokens=merge_tokens,
        replace=replace,
        recover=recover,
        adapt=adapt,
        train_head=train_head,
        parallel_width=parallel_width,
        skip_width=skip_width,
        reference=reference,
        data=data,
        columns=columns,
        holdout=holdout,
        calibration=calibration,
        tokenizer=tokenizer,
        image_size=image_size,
        text_length=text_length,
        search_epochs=search_epochs,
        recover_epochs=recover_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        out=out,
    )
    run, report = compress_and_report(with_runtime(settings), resume=resume, progress=progress)
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
