"""The demo: prepare, compress, export, profile, report, with each command shown as a user would type it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import das
from compressor.data.scenes import write_example
from compressor.errors import EnvironmentProblem
from compressor.job import Settings
from compressor.pipeline import compress
from compressor.runs import Run, cannot_write
from das.demo import CHECKPOINT, prepare_demo
from das.render_report import print_report
from das.terminal import console, err_console, progress
from profiles.report import CompressionReport, save_report

QUESTION = "how many things are there?"


def tell(folder: Path, *, skip: int, retrain: bool, seed: int) -> CompressionReport:
    """Run the whole demo in ``folder`` and print the report.

    Raises:
        DasError: whatever the commands raise. A machine without TensorRT is no error: it is said.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    started = time.monotonic()
    with _stage(f"preparing {folder}/{CHECKPOINT} and {folder}/data"):
        prepare_demo(folder, retrain=retrain, progress=progress())
        write_example(folder / "scene.png", seed)
    typed = f"das compress {CHECKPOINT} --task vqa --skip {skip}"
    with chdir(folder):
        with _stage(typed):
            settings = Settings(checkpoint=CHECKPOINT, task="vqa", skip=skip, seed=seed, data="data")
            run = compress(settings, command=typed, progress=progress())
        with _stage("das export --onnx"):
            das.export(run, "onnx", progress=progress())
        _try_tensorrt(run)
        with _stage("das profile"):
            das.profile(run, progress=progress())
        report = save_report(run)
    print_report(report, folder / run.path.relative_to(folder.resolve()))
    console.print(f"\nDone in {time.monotonic() - started:.0f} s. Try it yourself, in the folder {folder}:")
    predict = f'das predict --image scene.png --question "{QUESTION}"'
    for command in (typed, "das export --trt", "das profile", predict):
        console.print(f"  {command}", soft_wrap=True)
    return report


def _try_tensorrt(run: Run) -> None:
    try:
        with _stage("das export --trt"):
            das.export(run, "trt", progress=progress())
    except EnvironmentProblem as error:
        err_console.print(f"  no TensorRT engine: {error.problems[0].found}; {error.problems[0].fix}", soft_wrap=True)


@contextmanager
def _stage(command: str) -> Iterator[None]:
    err_console.print(f"$ {command}", style="bold", soft_wrap=True)
    started = time.monotonic()
    yield
    err_console.print(f"  {time.monotonic() - started:.1f} s", style="dim")
