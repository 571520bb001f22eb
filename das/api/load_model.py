"""``das.load`` and ``das.skip``: models as PyTorch modules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import usage_error

if TYPE_CHECKING:
    from compressor.models.steps import StepModel
    from compressor.saved_run.run_folder import Run


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
    from compressor.saved_run.run_folder import is_run, open_run
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


def open_run_at(run: Run | str | Path | None) -> Run:
    """Return the run itself, the one in a folder, or runs/latest.

    Raises:
        InputError: no run there.
    """
    from compressor.saved_run.run_folder import Run, open_run

    return run if isinstance(run, Run) else open_run(run)
