"""``das.profile``: full against slim, measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import Checks
from compressor.progress import QUIET, Progress
from das.api.load_model import open_run_at

if TYPE_CHECKING:
    from compressor.saved_run.run_folder import Run
    from profiles.comparison.full_vs_slim import ProfileReport


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
