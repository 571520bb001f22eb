"""A fully tuned model as a checkpoint that other commands take: a folder of transformers with its tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file

from compressor.checkpoints.sources.locate import CONFIG, SAFE
from compressor.families import FAMILIES
from compressor.files import TOKENIZER_FILE, atomic_folder, read_settings, write_json, write_text
from compressor.hub.slim_config import make_config
from compressor.hub.slim_tensors import find_format, name_tensors
from compressor.tasks import TASKS
from compressor.tuning.tuned import Tuned


def write_checkpoint(
    tuned: Tuned, folder: Path, *, labels: Sequence[str], files: Mapping[str, Path], tokenizer: str
) -> None:
    """Write the model of a tuning whole or not at all.

    Args:
        tuned: whose model has no adapters.
        folder: that is made.
        labels: name of each class.
        files: of settings and of the tokenizer, by name, as they came with the checkpoint that was tuned.
        tokenizer: content of tokenizer.json, where there is none among them; empty without one.

    Raises:
        InputError: transformers has no class for the model.
        EnvironmentProblem: the folder cannot be written.
    """
    format, dims = find_format(tuned.family, tuned.task), FAMILIES[tuned.family].dims_type(**tuned.dims)
    tensors = name_tensors(tuned.load(), format)
    source = read_settings(files[CONFIG]) if CONFIG in files else {}
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG, make_config(format, dims, TASKS[tuned.task], tensors, labels, source))
        state = {name: value.contiguous() for name, value in tensors.state.items()}
        save_file(state, temporary / SAFE[0], metadata={"format": "pt"})
        for name, path in files.items():
            if name != CONFIG:
                shutil.copyfile(path, temporary / name)
        if tokenizer and TOKENIZER_FILE not in files:
            write_text(temporary / TOKENIZER_FILE, tokenizer)
