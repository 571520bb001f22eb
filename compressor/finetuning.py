"""Training a whole model from scratch: how the demo's and the benchmarks' small checkpoints come to be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

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
    """Write ``model`` as the family's public checkpoints are written, whole or not at all.

    Args:
        model: a full model.
        path: a Lightning ``.ckpt``, or the folder where the family's checkpoints come from Hugging Face.
        config: ``hyper_parameters["config"]`` or config.json: what no tensor shape shows.
    """
    written = FAMILIES[model.family].formats[0]
    tensors = written.table(model.task).to_checkpoint(model.state_dict())
    state = {key: value.detach().clone() for key, value in tensors.items()}
    temporary = path.with_name(f".{path.name}.tmp")
    if written.model_type:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_file(state, temporary / "model.safetensors", metadata={"format": "pt"})
        (temporary / "config.json").write_text(json.dumps(config, indent=2))
        shutil.rmtree(path, ignore_errors=True)
    else:
        content = {
            "epoch": 0,
            "global_step": 0,
            "pytorch-lightning_version": "1.3.2",
            "state_dict": state,
            "hyper_parameters": {"config": config},
        }
        torch.save(content, temporary)
    temporary.replace(path)
