"""Writing a model as the checkpoints people have: a Lightning file, or a Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from compressor.checkpoints.sources.locate import CONFIG, SAFE
from compressor.families import FAMILIES
from compressor.families.key_mapping import State
from compressor.files import atomic_file, atomic_folder
from compressor.models.steps import StepModel


def save_public_checkpoint(model: StepModel, path: Path, config: Mapping[str, object]) -> None:
    """Write ``model`` in its family's first format, whole or not at all: a Lightning file, or a Hugging Face folder.

    Args:
        model: a full model.
        path: the file (``.ckpt``) or the folder; an earlier one is replaced.
        config: what no tensor shape shows: a Lightning file's ``hyper_parameters["config"]`` (``num_heads``,
            ``max_text_len``), or the whole config.json of a folder.

    Raises:
        EnvironmentProblem: the checkpoint cannot be written.
    """
    format = FAMILIES[model.family].formats[0]
    state = format.table(model.task).to_checkpoint(model.state_dict())
    state = {key: value.detach().clone() for key, value in state.items()}
    if not format.model_type:
        with atomic_file(path) as temporary:
            _write_lightning(temporary, state, config)
        return
    with atomic_folder(path) as temporary:
        _write_folder(temporary, state, config)
        if path.is_dir():
            shutil.rmtree(path)


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
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    save_file(state, path / SAFE[0], metadata={"format": "pt"})  # transformers refuses files that do not say so
