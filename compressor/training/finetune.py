"""Training a whole model from scratch: how the demo's and the benchmarks' small checkpoints come to be."""

from __future__ import annotations

import torch

from compressor.data.splits import Split
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task
from compressor.training.optimiser import Optimiser


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
    inputs = FAMILIES[model.family].input_names
    order = split.training_order(batch_size, seed)
    model.train()
    for step in progress.track(range(steps), "Training the full model", steps):
        batch = split.batch(order.batch(step))
        optimiser.step(task.loss(model(**{name: batch[name] for name in inputs}), batch))
    return model.eval()
