"""What a vocabulary can be trimmed of: a folder of transformers, and what das makes of texts for its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from compressor.checkpoints.declared import architectures_in
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.sizes import read_dims, sizes_that_fit
from compressor.checkpoints.sources.locate import read_config
from compressor.data.text import TextTransform
from compressor.errors import InputError, input_error, shorten
from compressor.families import FAMILIES, Family
from compressor.hub.hub_folder import SavedFolder, load_folder, save_folder
from compressor.hub.register import register_classes
from compressor.hub.slim_config import ANY_MODEL, find_loader, model_class
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import Run


@dataclass(frozen=True)
class Source:
    """A folder of transformers.

    Attributes:
        folder: that transformers loads.
        name: what the user calls it.
        config: what its config.json says.
        text: its tokenizer, and what das makes of texts with it.
        longest: most tokens of a text that the model can be given.
        tolerance: that two computations of its output may differ by.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    text: TextTransform
    longest: int
    tolerance: float

    @property
    def loader(self) -> str:
        """Name of the class of transformers whose ``from_pretrained`` loads the folder."""
        return find_loader(self.config) if architectures_in(self.config) else ANY_MODEL

    def load(self) -> LoadedModel:
        """Load the model.

        Raises:
            InputError: the files lack tensors that its class computes with.
        """
        register_classes()
        kind = model_class(self.config) if architectures_in(self.config) else getattr(transformers, ANY_MODEL)
        model, report = load_folder(kind, self.folder)
        absent = frozenset(report["missing_keys"])
        # A bare encoder's pooler is often left out: what sentence-transformers reads is in front of it.
        unread = {name for name in absent if model.base_model is model and name.startswith("pooler.")}
        if lacking := sorted((absent - unread) | {str(name) for name, *_ in report["mismatched_keys"]}):
            raise input_error(
                "tensors-missing",
                f"{self.name} has no tensors for {shorten(lacking)} of {type(model).__name__}",
                "the weights of the class that config.json names",
                "save the model again with save_pretrained, or name its own class under architectures",
            )
        return LoadedModel(model, absent, tuple(sorted(report["unexpected_keys"])))


@dataclass(frozen=True)
class LoadedModel:
    """A model of transformers in eval mode.

    Attributes:
        model: of the library's class.
        absent: tensors that it has in memory and not in its files.
        unread: tensors of its files that it does not have.
    """

    model: Any
    absent: frozenset[str]
    unread: tuple[str, ...]


def check_family(family: Family, name: str) -> None:
    """Refuse a model that reads more than texts.

    Raises:
        InputError: it does.
    """
    if others := sorted({entry.modality for entry in family.inputs} - {"text"}):
        raise input_error(
            "vocabulary-not-of-texts-alone",
            f"{name} is a {family.name}, which reads {' and '.join(f'{other}s' for other in others)}",
            f"a text encoder: {', '.join(kind for kind, other in FAMILIES.items() if _reads_texts(other))}",
            "give one of these; of the others das keeps the vocabulary as it is",
        )


def _reads_texts(family: Family) -> bool:
    return {entry.modality for entry in family.inputs} == {"text"}


def open_checkpoint(path: Path) -> Source:
    """Return the folder of a checkpoint.

    Raises:
        InputError: it is no folder of transformers that das knows, has no tokenizer, or its model reads images.
    """
    recognised = recognise(path)
    folder, family = recognised.checkpoint.path, recognised.family
    check_family(family, str(path))
    config = dict(recognised.checkpoint.beside)
    if not folder.is_dir() or recognised.prefix or len(architectures_in(config)) > 1 or not _knows(config):
        raise _not_a_folder(path)
    with sizes_that_fit(recognised):
        dims, _ = read_dims(recognised, None)
    found = find_tokenizer(None, folder, None)
    text = family.transforms(dims, found.tokenizer).text
    return Source(folder, str(path), config, text, dims.longest_text, family.tolerances["fp32"])


def _knows(config: dict[str, Any]) -> bool:
    return all(hasattr(transformers, name) for name in architectures_in(config))


def _not_a_folder(path: Path) -> InputError:
    return input_error(
        "not-a-folder-of-transformers",
        f"{path} is no folder whose model a class of transformers loads",
        "a folder with config.json, which names one class under architectures, its weights and its tokenizer",
        "save the model with save_pretrained; or compress it, and trim the vocabulary of the run",
    )


def save_source(
    run: Run, folder: Path, write_card: Callable[[SavedFolder], str], progress: Progress = QUIET
) -> tuple[SavedFolder, Source]:
    """Write the folder that das save makes of a run, and return what it says of it, and the folder.

    Raises:
        DasError: as :func:`compressor.hub.hub_folder.save_folder` says; or the run's model reads images.
    """
    family = FAMILIES[run.manifest.family]
    check_family(family, str(run.path))
    saved = save_folder(run, folder, write_card, progress)
    text, longest = run.transforms().text, run.dims.longest_text
    return saved, Source(folder, str(run.path), read_config(folder), text, longest, family.tolerances["fp32"])
