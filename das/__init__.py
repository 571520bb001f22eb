"""The face of das: the command line and the public Python API.

>>> import das
>>> model = das.load("meter.ckpt")
>>> slim = das.skip(model, ["FL1", "FV0"])
>>> run = das.compress("meter.ckpt", task="vqa", skip=8, data="data/")
>>> das.export(run, "onnx"); das.profile(run); das.flops("meter", skip_layers=["FV0"])
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import DasError, usage_error

if TYPE_CHECKING:
    from compressor.models.steps import StepModel
    from compressor.run_folder import Run
    from exporters.export import ExportReport
    from profiles.comparison.full_vs_slim import ProfileReport
    from profiles.macs.published import FlopsReport

__all__ = ["compress", "export", "flops", "load", "profile", "skip"]


def load(path: str | Path, task: str | None = None, image_size: int | None = None) -> StepModel:
    """A full checkpoint or a run folder as an ``nn.Module`` in eval mode on the CPU.

    A run's slim model comes with its exact trims: it answers the same with less work, and is not for training.
    ``model(input_ids=..., attention_mask=..., pixel_values=...)`` returns logits (B, classes); ``model.family``,
    ``model.task`` and ``model.layers`` say what it is.

    Raises:
        InputError: nothing usable there.
        UsageError: the checkpoint has several heads and no ``task`` is given.
    """
    from compressor.checkpoints.build import load_checkpoint
    from compressor.run_folder import MANIFEST, open_run

    if (Path(path) / MANIFEST).exists():
        if task or image_size:
            raise usage_error(
                "option-for-a-run", "task or image_size for a run", "neither: a run knows both", "das.load(run)"
            )
        return open_run(path).load_slim()
    return load_checkpoint(path, task, image_size).model


def skip(model: StepModel, layers: Sequence[str]) -> StepModel:
    """A slim copy of ``model`` without ``layers`` (names or patterns): surgery alone, no search, no training.

    Raises:
        UsageError: a layer that the model does not have.
    """
    from compressor.models.surgery import make_plan, remove_layers

    return remove_layers(model, make_plan(model, layers))


def compress(
    checkpoint: str | Path | None = None, task: str | None = None, skip: int | None = None, **options: Any
) -> Run:
    """What ``das compress`` does; the run's folder then holds report.json and report.md.

    Args:
        checkpoint: a full fine-tuned checkpoint; None with ``from_run=``.
        task: name of the task; None takes the checkpoint's only head.
        skip: how many layers to skip; None with ``layers=`` or a budget such as ``max_macs="0.8x"``.
        options: the other fields of :class:`compressor.settings.Settings`; ``from_run=`` uses the search, the
            checkpoint and the settings of an earlier run again.

    Raises:
        UsageError: an unknown or impossible option, all of them at once.
        CheckFailed: the budget cannot be reached, or what was made misses it when it is measured; then it is kept.
        DasError: as :func:`compressor.job.prepare` says.
    """
    from compressor.compression import compress as run_compression
    from compressor.distributed import is_main
    from compressor.search.reuse import settings_of
    from profiles.gates.budget_check import check_budget, measure_budget, with_runtime
    from profiles.reports.save import save_report
    from profiles.timing.layers_isolated import layer_prices

    named: dict[str, Any] = {"checkpoint": checkpoint, "task": task, "skip": skip}
    settings = settings_of(**{name: value for name, value in named.items() if value is not None}, **options)
    run = run_compression(with_runtime(settings), price=layer_prices)
    if is_main():
        measure_budget(run)
        check_budget(save_report(run).budget, run)
    return run


def export(run: Run | str | Path | None, *formats: str, **options: Any) -> ExportReport:
    """Export a run's slim model to its ``exports`` folder, run what was made, and compare it with PyTorch.

    :func:`profiles.comparison.recommend_export.compare_exports` says which of a run's exports is the fastest here.

    Args:
        run: a run, its folder, or None for runs/latest.
        formats: names or aliases of the runtimes to export for: "onnx" (ONNX Runtime), "trt" (TensorRT).
        options: those of :func:`exporters.export.export`; ``data`` is a folder to take the samples of the certificates
            from, other than the run's own.

    Raises:
        CheckFailed: an export does not answer as the model does; it is not kept.
        EnvironmentProblem: a runtime is missing.
    """
    from compressor.evaluation.reference import open_reference
    from exporters import export as exporting
    from profiles.reports.save import save_report

    exporting.check_request(formats, **options)
    opened = _open(run)
    try:
        reference = open_reference(opened, options.pop("data", None))
        slim, folder = opened.load_slim(), opened.path / exporting.EXPORTS
        report = exporting.export(slim, opened.samples(), folder, formats, reference=reference, **options)
    except DasError:
        with suppress(DasError):  # an export that is gone must leave the report, too; the failure itself matters more
            save_report(opened)
        raise
    save_report(opened)
    return report


def profile(run: Run | str | Path | None, **options: Any) -> ProfileReport:
    """Measure a run's full model against its slim one; writes profile.json and the report.

    Args:
        run: a run, its folder, or None for runs/latest.
        options: as :func:`profiles.comparison.profile_run.profile`.

    Raises:
        InputError: the full checkpoint is gone or has changed.
        EnvironmentProblem: a runtime or device that was asked for is not here.
    """
    from profiles.comparison.profile_run import profile as measure
    from profiles.comparison.profile_run import save
    from profiles.reports.save import save_report

    opened = _open(run)
    report = measure(opened, **options)
    save(opened, report)
    save_report(opened)
    return report


def _open(run: Run | str | Path | None) -> Run:
    from compressor.run_folder import Run, open_run

    return run if isinstance(run, Run) else open_run(run)


def flops(family: str, **settings: Any) -> FlopsReport:
    """MACs of a family's published model; ``settings`` as :func:`profiles.macs.published.flops`."""
    from profiles.macs.published import flops as count

    return count(family, **settings)
