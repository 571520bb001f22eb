"""What takes data and model to be seen: work of too few steps or too many subsets, and the like."""

from __future__ import annotations

import math
from pathlib import Path

from compressor.data.roles import TENTH
from compressor.distributed import world_size
from compressor.errors import usage_error
from compressor.jobs.job import Job
from compressor.search.strategies import DEFAULT

MOST_SUBSETS = 100_000  # that an exhaustive search takes on


def check_work(job: Job) -> None:
    """Refuse adapters of two widths, trainings without a step, and searches that never end.

    Raises:
        UsageError: so it is.
    """
    settings = job.settings
    own = {name: adapter.width for name, adapter in job.model.skips.items() if name in job.candidates}
    if others := {name: width for name, width in own.items() if settings.skip_width not in (None, width)}:
        name, width = next(iter(others.items()))
        raise usage_error(
            "adapter-width-differs",
            f"--skip-width {settings.skip_width}: the checkpoint brings a skip adapter of {width} for {name} along",
            f"its own width, {width}",
            "drop --skip-width",
        )
    if job.trains_while_searching and job.search_steps <= job.warm_up_steps:
        raise usage_error(
            "search-too-short",
            f"--search-epochs {settings.search_epochs:g} is {job.search_steps} steps: the gates would never move",
            "a search of some steps",
            "--search-epochs 3, or a smaller --batch-size",
        )
    if job.trains_in_recovery and not job.recovery.steps:
        raise usage_error(
            "recovery-too-short",
            f"--recover-epochs {settings.recover_epochs:g} of {len(job.data.train):,} samples is no step",
            "a recovery of some steps",
            "--recover-epochs 1, or a smaller --batch-size",
        )
    subsets = sum(math.comb(len(job.candidates), size) for size in job.sizes)
    if job.searches and job.strategy == "exhaustive" and subsets > MOST_SUBSETS:
        raise usage_error(
            "too-many-subsets",
            f"--strategy exhaustive: {subsets:,} subsets of {len(job.candidates)} layers",
            f"at most {MOST_SUBSETS:,}",
            f"--strategy {DEFAULT}, or a narrower --scope",
        )
    samples = min(settings.batch_size, len(job.data.train))
    if samples < world_size():
        raise usage_error(
            "too-many-processes",
            f"{world_size()} processes for steps of {samples} samples",
            "at least one sample for each",
            "fewer processes, or a larger --batch-size",
        )


def remark_on_held_out(job: Job) -> tuple[str, ...]:
    """Return a sentence where layers are chosen on data that the checkpoint has probably been trained on, else none."""
    settings, held_out = job.settings, job.data.held_out
    decided = ["the layers are chosen"] * job.searches + ["--max-drop is decided"] * (settings.max_drop is not None)
    named = Path(settings.holdout or "")
    of_training = named.is_file() and any(named.samefile(file) for file in job.data.train.records.files)
    if settings.adapt or job.task.taught or not decided or not (of_training or held_out.name == TENTH):
        return ()
    seen = "training data, which the checkpoint has probably seen: scores there are optimistic"
    return (f"{' and '.join(decided).capitalize()} on {seen}. --holdout names other data.",)
