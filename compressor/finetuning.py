"""Training a whole model from scratch: how the demo's and the benchmarks' small checkpoints come to be."""

from __future__ import annotations

from pathlib import Path

import torch

from compressor.data.splits import Split
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.steps import StepModel
from compressor.tasks.base import Task
from compressor.training import Optimiser, batch_of_step


def finetune(
    model: StepModel,
    split: Split,
    task: Task,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    progress: Progress = QUIET,
) -> StepModel:
    """Train every parameter of ``model`` on a split of the task's data; returns it in eval mode."""
    torch.manual_seed(seed)
    optimiser = Optimiser([(list(model.parameters()), learning_rate)], steps)
    inputs = FAMILIES[model.family].inputs
    model.train()
    for step in progress.track(range(steps), "Training the full model", steps):
        batch = split.batch(batch_of_step(step, batch_size, len(split), seed))
        optimiser.step(task.loss(model(**{name: batch[name] for name in inputs}), batch))
    return model.eval()


def save_public_checkpoint(model: StepModel, path: Path, config: dict[str, object]) -> None:
    """Write ``model`` as a Lightning checkpoint with the family's public key names.

    Args:
        model: a full model.
        path: ``.ckpt``; written whole or not at all.
        config: ``hyper_parameters["config"]``, with what no tensor shape shows (``num_heads``, ``max_text_len``).
    """
    state = FAMILIES[model.family].formats[0].table(model.task).to_checkpoint(model.state_dict())
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "1.3.2",
        "state_dict": {key: value.detach().clone() for key, value in state.items()},
        "hyper_parameters": {"config": config},
    }
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)
