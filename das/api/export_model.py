"""``das.export``: a run's slim model as files of runtimes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import Checks, DasError
from compressor.progress import QUIET, Progress
from das.api.load_model import open_run_at

if TYPE_CHECKING:
    from compressor.saved_run.run_folder import Run
    from das.results import Exports

UNNAMED = "onnxruntime"  # what is exported for where options are given and no runtime
ENGINE_BATCHES = (1, 8, 32)  # smallest, usual and largest batch of a TensorRT engine


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
        check_request(
            wanted,
            precision=precision,
            opset=opset,
            attention=attention,
            batch=batches,
            fixed=fixed,
            split=split,
        )
        place = runtime_device(device, find_runtimes(wanted, "--to", executes_files=True))
    with checks:
        opened = open_run_at(run)
        with checks:
            check_run(opened, fixed, split)
    with checks:
        if data is not None:
            find_data(data, None)
    checks.raise_found()
    try:
        reference = open_reference(opened, None if data is None else str(data))
        slim, folder = opened.load_slim(), exports_of(opened).path
        if best:
            report, found = export_best(opened, slim, reference, fixed_batch or 1, progress, device=place)
            save_report(opened)
            return Exports(**dict(report), choices=None, best=found)
        report = exporting.export(
            slim,
            opened.samples(),
            folder,
            formats,
            reference=reference,
            usage=usage_of(opened),
            precision=precision,
            opset=opset,
            attention=attention,
            batch=batches,
            fixed=fixed,
            workspace=workspace,
            split=split,
            device=place,
            progress=progress,
        )
    except DasError:
        with suppress(DasError):  # an export that is gone must leave the report, too; the failure itself matters more
            save_report(opened)
        raise
    save_report(opened)
    return Exports(**dict(report), choices=compare_exports(opened, progress) if recommend else None)
