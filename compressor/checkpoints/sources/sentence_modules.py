"""What lies in a folder of sentence-transformers beside its transformer: modules, their settings, their tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.checkpoints.sources.file_kinds import refuse_file
from compressor.errors import first_line, input_error
from compressor.files import read_settings

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
OF_TEXTS = "sentence_bert_config.json"  # what is said of the transformer's texts
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CROSS_ENCODER, CROSS_ENCODER_FILES = "CrossEncoder", (MODULES, SETTINGS, OF_TEXTS)
CROSS_ENCODER_SETTINGS = ("sentence_transformers", "sbert_ce_default_activation_function")  # in a config.json
LIBRARY = "sentence_transformers."
RESAVE = 'write it with sentence-transformers: SentenceTransformer("{}").save_pretrained("new")'


@dataclass(frozen=True)
class SentenceFolder:
    """A folder of sentence-transformers, but for its transformer.

    Attributes:
        config: ``modules``, what each says of itself with its class as ``type``, and ``settings``, those of all; {} of
            a folder that is none.
        weights: by the place of a module behind the pooling, from 0, the file of its tensors.
        files: everything that was read, weights among it, by name in the folder.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[int, Path] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


def is_embedder(folder: Path) -> bool:
    """Return whether a folder is a model of sentence-transformers, which pools what its backbone makes of a text."""
    modules = folder / MODULES
    return modules.is_file() and b".Pooling" in modules.read_bytes()


def is_cross_encoder(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a folder is a cross-encoder of sentence-transformers, which scores a pair of texts.

    From version 6 on a file says so; before, config.json says how its scores are to be scaled.
    """
    with suppress(OSError, ValueError):
        return read_settings(folder / SETTINGS).get("model_type") == CROSS_ENCODER
    return any(name in config for name in CROSS_ENCODER_SETTINGS)


def read_sentence_folder(folder: Path) -> SentenceFolder:
    """Return what a folder of sentence-transformers has beside its transformer; nothing of a folder that is none.

    Whether das computes these modules is seen when a model is made of them.

    Raises:
        InputError: a file is missing or damaged, or the transformer lies in a folder of its own.
    """
    if not is_embedder(folder):
        return SentenceFolder()
    check_transformer(folder)
    transformer, *behind = _list_modules(folder)
    files, said, weights = {MODULES: folder / MODULES}, [dict[str, Any](type=transformer["type"])], dict[int, Path]()
    for place, module in enumerate(behind):
        own = folder / module["path"]
        config = own / CONFIG
        has_config = config.is_file() or module["type"] in ("Pooling", "Dense")
        said.append({**(_read(config) if has_config else {}), "type": module["type"]})
        found = next((own / name for name in WEIGHTS if (own / name).is_file()), None)
        files |= {f"{module['path']}/{CONFIG}": config} if has_config else {}
        if found:
            weights[place - 1] = files[f"{module['path']}/{found.name}"] = found
    files |= {name: folder / name for name in (SETTINGS, OF_TEXTS) if (folder / name).is_file()}
    settings = _read(files[SETTINGS]) if SETTINGS in files else {}
    return SentenceFolder({"modules": said, "settings": settings}, weights, files)


def read_text_settings(folder: Path) -> dict[str, Any]:
    """Return what a folder of sentence-transformers says of its transformer's texts: {} where nothing.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / OF_TEXTS
    return _read(path) if path.is_file() and is_embedder(folder) else {}


def check_transformer(folder: Path) -> None:
    """Refuse an embedder whose transformer lies in a folder of its own.

    Raises:
        InputError: it does, or its list of modules is damaged.
    """
    if is_embedder(folder) and (path := _list_modules(folder)[0]["path"]):
        raise input_error(
            "embedder-in-parts",
            f"{folder} has its transformer in {path}, as old sentence-transformers wrote it",
            "config.json and weights beside modules.json",
            RESAVE.format(folder),
        )


def _list_modules(folder: Path) -> list[dict[str, str]]:
    """Return path and class of each module, the name of the class alone where it is one of the library's.

    Raises:
        InputError: it is no such list, or leads out of the folder.
    """
    path = folder / MODULES
    try:
        listed = [
            {"path": str(entry["path"]), "type": _name_class(str(entry["type"]))}
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise refuse_file("modules-unreadable", path, f"no list of modules ({first_line(error)})") from None
    if strays := [entry["path"] for entry in listed if ".." in Path(entry["path"]).parts or Path(entry["path"]).root]:
        raise refuse_file("modules-unreadable", path, f"a list that leads out of its folder ({strays[0]})")
    return listed


def _name_class(path: str) -> str:
    return path.rpartition(".")[2] if path.startswith(LIBRARY) else path


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_settings(path)
    except (OSError, ValueError) as error:
        raise refuse_file("modules-unreadable", path, f"no JSON of settings ({first_line(error)})") from None
