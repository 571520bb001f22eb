"""Training a whole model from scratch: how the demo's and the benchmarks' small checkpoints come to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from compressor.checkpoints.read import CONFIG, SAFE
from compressor.data.splits import Split
from compressor.families import FAMILIES
from compressor.families.family import State
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task
from compressor.training.optimiser import Optimiser, batch_of_step


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


def save_public_checkpoint(model: StepModel, path: Path, config: Mapping[str, object]) -> None:
    """Write ``model`` in its family's first format, whole or not at all: a Lightning file, or a Hugging Face folder.

    Args:
        model: a full model.
        path: the file (``.ckpt``) or the folder; an earlier one is replaced.
        config: what no tensor shape shows: a Lightning file's ``hyper_parameters["config"]`` (``num_heads``,
            ``max_text_len``), or the whole config.json of a folder.
    """
    format = FAMILIES[model.family].formats[0]
    state = format.table(model.task).to_checkpoint(model.state_dict())
    state = {key: value.detach().clone() for key, value in state.items()}
    temporary = path.with_name(f"{path.name}.tmp")
    write = _write_folder if format.model_type else _write_lightning
    write(temporary, state, config)
    if path.is_dir():
        shutil.rmtree(path)
    temporary.replace(path)


def _write_lightning(path: Path, state: State, config: Mapping[str, object]) -> None:
    content = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "1.3.2",
        "state_dict": state,
        "hyper_parameters": {"config": dict(config)},
    }
    torch.save(content, path)


def _write_folder(path: Path, state: State, config: Mapping[str, object]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    save_file(state, path / SAFE[0], metadata={"format": "pt"})  # transformers refuses files that do not say so
