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
    """Train every parameter of ``model``, where it is, on a split of the task's data; returns it in eval mode."""
    torch.manual_seed(seed)
    optimiser = Optimiser([(list(model.parameters()), learning_rate)], steps)
    inputs, device = FAMILIES[model.family].input_names, next(model.parameters()).device
    order = split.training_order(batch_size, seed)
    model.train()
    for step in progress.track(range(steps), "Training the full model", steps):
        batch = {name: value.to(device) for name, value in split.batch(order.batch(step)).items()}
        optimiser.step([(task.loss(model(**{name: batch[name] for name in inputs}), batch), 1.0)])
    return model.eval()
