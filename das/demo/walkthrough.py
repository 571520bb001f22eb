"""The demo: prepare, compress, export, profile, report, with each command shown as a user would type it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from compressor.data.images import decode_image
from compressor.data.read_data import read_data
from compressor.errors import EnvironmentProblem
from compressor.files import cannot_write
from compressor.saved_run.run_folder import Run
from compressor.settings import Settings
from compressor.tasks import TASKS
from das import api
from das.demo.checkpoints import prepare_demo
from das.demo.demos import Demo, check_skip
from das.render.print_report import print_report
from das.terminal import console, err_console, progress
from profiles.reports.compression_report import CompressionReport
from profiles.reports.save import save_report


def run_demo(demo: Demo, folder: Path, *, skip: int | None, retrain: bool, seed: int) -> CompressionReport:
    """Run the whole demo in ``folder`` and print the report.

    Raises:
        DasError: whatever the commands raise. A machine without TensorRT is no error: it is said.
    """
    skip = demo.skip if skip is None else skip
    check_skip(demo, skip)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    started = time.monotonic()
    with _stage(f"preparing {folder}/{demo.checkpoint} and {folder}/data"):
        prepare_demo(demo, folder, retrain=retrain, progress=progress())
        predict_command = _example(demo, folder)
    compress_command = (
        f"das compress {demo.checkpoint} --task {demo.task} --skip {skip} --recover-epochs {demo.recover_epochs:g}"
    )
    with chdir(folder):
        with _stage(compress_command):
            settings = Settings(
                checkpoint=demo.checkpoint,
                task=demo.task,
                skip=skip,
                recover_epochs=demo.recover_epochs,
                seed=seed,
                data="data",
            )
            run, _ = api.compress_and_report(settings, command=compress_command, progress=progress())
            err_console.print(f"  {_searched(run)}", soft_wrap=True)
        export_command = "das export --onnx --precision int8"
        with _stage(export_command):  # and fp32, which that is made from
            api.export(run, "onnx", precision="int8", progress=progress())
        _try_tensorrt(run)
        profile_command = f"das profile --seconds {demo.seconds:g}"
        with _stage(profile_command):
            api.profile(run, seconds=demo.seconds, progress=progress())
        report = save_report(run)
    print_report(report, folder / run.path.relative_to(folder.resolve()))
    console.print(f"\nDone in {time.monotonic() - started:.0f} s. Try it yourself, in the folder {folder}:")
    for command in (
        compress_command,
        "das pareto",
        "das explain",
        export_command,
        "das export --trt",
        profile_command,
        predict_command,
    ):
        console.print(f"  {command}", soft_wrap=True)
    return report


def _example(demo: Demo, folder: Path) -> str:
    """Write the images of one sample beside the checkpoint; return the command that asks about them."""
    splits = read_data(folder / "data", demo.task).splits
    sample = splits.get("test", splits["val"]).samples[0]
    names = [f"scene{number or ''}.png" for number in range(len(sample.images))]
    for name, picture in zip(names, sample.images, strict=True):
        decode_image(picture.read(), picture.origin).save(folder / name)
    asked = [f'--text "{sample.text}"'] if TASKS[demo.task].texts else []
    return " ".join(["das predict", *(f"--image {name}" for name in names), *asked])


def _searched(run: Run) -> str:
    """Describe the search's work, and compare its time with the recovery's."""
    record, seconds = run.search_result(), run.manifest.results.seconds
    assert record is not None
    subsets = len({entry.layers for entry in run.search_log()})
    search_seconds = sum(seconds[stage] for stage in ("fit", "encode", "search"))
    return (
        f"strategy {record.strategy}: {subsets:,} subsets of layers scored in {search_seconds:.0f} s, as much work as "
        f"{sum(record.forwards.values()):,.0f} forward passes of the full model; the recovery's training took "
        f"{seconds['recover']:.0f} s"
    )


def _try_tensorrt(run: Run) -> None:
    try:
        with _stage("das export --trt"):
            api.export(run, "trt", progress=progress())
    except EnvironmentProblem as error:
        err_console.print(f"  no TensorRT engine: {error.problems[0].found}; {error.problems[0].fix}", soft_wrap=True)


@contextmanager
def _stage(command: str) -> Iterator[None]:
    err_console.print(f"$ {command}", style="bold", soft_wrap=True)
    started = time.monotonic()
    yield
    err_console.print(f"  {time.monotonic() - started:.1f} s", style="dim")
