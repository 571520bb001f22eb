"""A slim embedder as a folder of sentence-transformers: what such a folder has beside a model of transformers."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressor.checkpoints.sources.locate import SAFE
from compressor.checkpoints.sources.sentence_modules import MODULES, OF_TEXTS, read_sentence_folder
from compressor.checkpoints.sources.source_files import FOLDER
from compressor.families import FAMILIES
from compressor.families.key_mapping import MODULE_KEYS, SENTENCE_MODULES, Format, State
from compressor.files import read_settings, write_json
from compressor.hub.slim_tensors import SlimTensors
from compressor.saved_run.run_folder import Run

LOADER = "SentenceTransformer"
NO_POOLER = "add_pooling_layer"  # of the library's classes that make a pooler: nothing reads it, and no folder has one
GIVEN = ("model_args", "model_kwargs")  # in sentence_bert_config.json: what such a class is given; old and new
PYTORCH = {"format": "pt"}  # transformers refuses files that do not say so


def split_tensors(tensors: SlimTensors, format: Format) -> tuple[SlimTensors, State]:
    """Return the tensors of the transformer alone, as its bare class names them, and those of the modules behind it."""
    behind = {key.removeprefix(MODULE_KEYS): x for key, x in tensors.state.items() if key.startswith(MODULE_KEYS)}
    backbone = {
        key.removeprefix(format.base_prefix): x for key, x in tensors.state.items() if not key.startswith(MODULE_KEYS)
    }
    adapters = tensors.adapters
    if adapters:
        adapters = replace(adapters, layers=adapters.layers.removeprefix(format.base_prefix))
    return replace(tensors, state=backbone, adapters=adapters), behind


def write_modules(run: Run, format: Format, behind: State, folder: Path) -> None:
    """Write the modules behind the transformer: settings as they came, and weights as the run has them.

    Args:
        run: of an embedder.
        format: of transformers.
        behind: tensors of the modules, by number and name.
        folder: of the transformer.
    """
    for name, path in read_sentence_folder(run.path / FOLDER).files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)
    _, _, *paths = (entry["path"] for entry in json.loads((folder / MODULES).read_text()))
    for place, path in enumerate(paths):
        (folder / path).mkdir(exist_ok=True)
        own = {key.removeprefix(f"{place}."): x for key, x in behind.items() if key.startswith(f"{place}.")}
        if own:
            save_file({key: x.contiguous() for key, x in own.items()}, folder / path / SAFE[0], metadata=PYTORCH)
    kind = getattr(transformers, str(format.architecture(run.manifest.task)))
    if NO_POOLER in inspect.signature(kind).parameters:
        said = read_settings(folder / OF_TEXTS) if (folder / OF_TEXTS).is_file() else {}
        given = next((name for name in GIVEN if name in said), GIVEN[0])
        write_json(folder / OF_TEXTS, said | {given: {**said.get(given, {}), NO_POOLER: False}})


def options_of(folder: Path) -> dict[str, Any]:
    """Return what sentence-transformers gives the class of a folder's transformer beside its path."""
    said = read_settings(folder / OF_TEXTS) if (folder / OF_TEXTS).is_file() else {}
    return next((said[name] for name in GIVEN if name in said), {})


def compute_vectors(run: Run, format: Format, folder: Path, states: Tensor, mask: Tensor) -> Tensor:
    """Return what the modules of a written folder make of its transformer's last states.

    Args:
        run: of an embedder.
        format: of transformers.
        folder: read again, whatever the run says of its modules.
        states: (B, L, D).
        mask: 1 at tokens, 0 at padding, (B, L).

    Returns:
        (B, width).
    """
    assert format.library
    found, family = read_sentence_folder(folder), FAMILIES[run.manifest.family]
    config = {**format.library.write_config(run.dims), SENTENCE_MODULES: found.config}
    dims = format.read_dims({}, config, run.manifest.task)
    epilogue: Any = family.build(dims, run.manifest.task).epilogue.eval()
    epilogue.norm = nn.Identity()  # the library's class has it in its last states
    for place, path in found.weights.items():
        epilogue.head[place].load_state_dict(load_file(path))
    (stream,) = family.readout(dims, run.manifest.task)
    return epilogue({stream: states, "mask": mask[:, None, None].bool()})
