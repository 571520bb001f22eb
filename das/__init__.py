"""The face of das: the command line and the public Python API.

>>> import das
>>> model = das.load("meter.ckpt")
>>> slim = das.skip(model, ["FL1", "FV0"])
>>> run = das.compress("meter.ckpt", task="vqa", skip=8, data="data/")
>>> das.export(run, "onnx"); das.profile(run); das.flops("meter", skip_layers=["FV0"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.runs import Run
    from compressor.steps import StepModel

__all__ = ["compress", "export", "flops", "load", "profile", "skip"]


def load(path: str | Path, task: str | None = None, image_size: int | None = None) -> StepModel:
    """A full checkpoint or a run folder as an ``nn.Module`` in eval mode on the CPU.

    ``model(input_ids=..., attention_mask=..., pixel_values=...)`` returns logits (B, classes); ``model.family``,
    ``model.task`` and ``model.layers`` say what it is.

    Raises:
        InputError: nothing usable there.
        UsageError: the checkpoint has several heads and no ``task`` is given.
    """
    from compressor.loading import load_checkpoint
    from compressor.runs import MANIFEST, open_run

    if (Path(path) / MANIFEST).exists():
        return open_run(path).load_slim()
    return load_checkpoint(path, task, image_size).model


def skip(model: StepModel, layers: Sequence[str]) -> StepModel:
    """A slim copy of ``model`` without ``layers`` (names or patterns): surgery alone, no search, no training.

    Raises:
        UsageError: a layer that the model does not have.
    """
    from compressor.surgery import make_plan, remove_layers

    return remove_layers(model, make_plan(model, layers))


def compress(checkpoint: str | Path, task: str | None = None, skip: int | None = None, **options: Any) -> Run:
    """What ``das compress`` does; the run's folder then holds report.json and report.md.

    Args:
        checkpoint: a full fine-tuned checkpoint.
        task: name of the task; None takes the checkpoint's only head.
        skip: how many layers to skip; None with ``layers=``.
        options: the other fields of :class:`compressor.job.Settings`.

    Raises:
        DasError: as :func:`compressor.job.prepare` says.
    """
    from compressor.job import Settings
    from compressor.pipeline import compress as run_compression
    from profiles.report import save_report

    given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    run = run_compression(Settings(checkpoint=str(checkpoint), task=task, skip=skip, **given))
    save_report(run)
    return run


def export(run: Run | str | Path, *formats: str, precision: str = "fp32", **options: Any) -> Any:
    """Export a run's slim model to its ``exports`` folder: "onnx", "trt" or both; runs and compares what it made.

    Args:
        run: a run or its folder.
        formats: as :func:`exporters.export.export`.
        precision: of weights and arithmetic.
        options: ``opset``, ``batch``, ``progress``.

    Raises:
        CheckFailed: an export does not answer as the model does.
        EnvironmentProblem: a runtime is missing.
    """
    from compressor.runs import Run, open_run
    from exporters import export as exporting
    from profiles.report import save_report

    opened = run if isinstance(run, Run) else open_run(run)
    folder, samples = opened.path / "exports", opened.samples()
    report = exporting.export(opened.load_slim(), samples, folder, formats, precision=precision, **options)
    save_report(opened)
    return report


def profile(run: Run | str | Path, **options: Any) -> Any:
    """Measure a run's full model against its slim one; ``options`` as :func:`profiles.profile.profile`."""
    from compressor.runs import Run, open_run
    from profiles.profile import profile as measure
    from profiles.profile import save
    from profiles.report import save_report

    opened = run if isinstance(run, Run) else open_run(run)
    report = measure(opened, **options)
    save(opened, report)
    save_report(opened)
    return report


def flops(family: str, **settings: Any) -> Any:
    """MACs of a family's published model; ``settings`` as :func:`profiles.family.flops`."""
    from profiles.family import flops as count

    return count(family, **settings)
