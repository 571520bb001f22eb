"""The run folder: everything a compression leaves behind, enough to rebuild the slim model with no pickle.

What a run says of itself is JSON, and is read without PyTorch: only what builds or loads a model imports it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from compressor.checkpoints.sources.file_kinds import refuse_tuned
from compressor.checkpoints.sources.source_files import FOLDER as SOURCE
from compressor.errors import DasError, input_error
from compressor.evaluation.score import EveryAnswer, EveryScore
from compressor.files import TOKENIZER_FILE, follow_link
from compressor.saved_run.manifest import MANIFEST, Manifest, Source, check_dims, read_manifest
from compressor.saved_run.run_places import LATEST, ROOT, find_runs
from compressor.search.result import LogEntry, SearchResult

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.data.types import Transforms
    from compressor.models.steps import StepModel

WEIGHTS, LABELS = "model.safetensors", "labels.json"
PREPROCESSOR, SAMPLES = "preprocessor.json", "samples.safetensors"
ANSWERS = "answers.safetensors"
EVERY = "every."  # in front of the names of tensors of an EveryScore
SEARCH, SEARCH_LOG = "search.json", "search.jsonl"


@dataclass(frozen=True)
class Run:
    """A finished run folder."""

    path: Path
    manifest: Manifest

    def load_slim(self) -> StepModel:
        """Return the slim model with its exact trims, in eval mode on the CPU: what is deployed.

        Raises:
            InputError: as :meth:`load_saved`.
        """
        from compressor.models.trims.simplify import trim

        return trim(self.load_saved())

    def load_saved(self) -> StepModel:
        """Return the slim model as it was trained and saved, before its exact trims, in eval mode on the CPU.

        Raises:
            InputError: the weights are missing, damaged, NaN, or not those of the manifest's plan.
        """
        from compressor.checkpoints.finite import check_finite
        from compressor.saved_run.unfilled import Unfilled

        weights = self._tensors(WEIGHTS)
        expected = self.outline().state_dict()
        if {name: value.shape for name, value in expected.items()} != {name: v.shape for name, v in weights.items()}:
            raise input_error(
                "weights-do-not-fit-manifest",
                f"{self.path / WEIGHTS} does not fit {MANIFEST}",
                "the weights of this run",
                "compress again",
            )
        check_finite(weights.items(), self.path / WEIGHTS)
        with Unfilled():
            slim = self._build()
        slim.load_state_dict(weights, assign=True)
        return slim.eval()

    def outline(self) -> StepModel:
        """Return the slim model on the meta device: nothing is read, and no memory needed, whatever the sizes are.

        Raises:
            InputError: the manifest's sizes are those of no model.
        """
        import torch

        try:
            with torch.device("meta"):
                return self._build()
        except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            raise input_error(
                "manifest-damaged",
                f"{self.path / MANIFEST} has dims that make no {self.manifest.family} ({error})",
                "the sizes of the model that was compressed",
                "compress again",
            ) from None

    @property
    def dims(self) -> Any:
        """The full model's sizes, and how many tokens the vision layers of the slim one merge."""
        from compressor.families import FAMILIES

        return FAMILIES[self.manifest.family].dims_type(**self.manifest.dims)

    def _build(self) -> StepModel:
        from compressor.families import FAMILIES
        from compressor.models.surgery import remove_layers

        full = FAMILIES[self.manifest.family].build(self.dims, self.manifest.task)
        return remove_layers(full, self.manifest.plan, copy_kept=False)

    def checkpoint(self, moved: str | Path | None = None) -> Path:
        """Return the full checkpoint: where the manifest says, or where it was ``moved``.

        Raises:
            InputError: it is gone or has changed since.
        """
        return find_source(self.manifest.source, moved)

    def load_full(self, checked: bool = False) -> StepModel:
        """Return the model before compression, from the checkpoint that the manifest names, without adapters.

        Those that a fine-tuned checkpoint brings along are in it.

        Args:
            checked: :meth:`checkpoint` has found the file unchanged already; it is not hashed again.

        Raises:
            InputError: the checkpoint is gone or has changed since.
        """
        import torch

        from compressor.checkpoints.build import load_checkpoint
        from compressor.checkpoints.sizes import Transfer
        from compressor.costs.parts import without_adapters

        source = self.manifest.source
        path = Path(source.path) if checked else self.checkpoint()
        classes = source.transfer_classes
        if classes is None:
            return load_checkpoint(path, self.manifest.task, source.image_size).model
        torch.manual_seed(self.manifest.settings.seed)  # its head is drawn as it was then
        transfer = Transfer(classes, self.manifest.dims["parallel_width"])
        return without_adapters(load_checkpoint(path, self.manifest.task, source.image_size, transfer).model)

    def samples(self) -> dict[str, Tensor]:
        """Return a few real evaluation inputs, for parity checks and profiles."""
        return self._tensors(SAMPLES)

    def answers(self) -> dict[str, Tensor]:
        """Return both models' predictions when the run was made.

        ``numbers`` (m,) of samples of the evaluation split, logits ``slim`` and ``full`` (m, classes), the latter not
        after a transfer, and ``targets`` (m, classes), not for retrieval; beside them those of :meth:`every_score`.
        """
        return self._tensors(ANSWERS)

    def every_answer(self) -> EveryAnswer | None:
        """Return both models' answers on the whole evaluation split; None after a transfer, and of unnumbered ones."""
        found = self.every_score()
        return found if isinstance(found, EveryAnswer) else None

    def every_score(self) -> EveryScore | None:
        """Return what both models' scores on the whole evaluation split come of; None after a transfer."""
        path = self.path / ANSWERS
        try:
            with safe_open(path, framework="np") as file:
                every = [name for name in tuple(file.keys()) if name.startswith(EVERY)]
                arrays = {name.removeprefix(EVERY): file.get_tensor(name) for name in every}
        except (OSError, SafetensorError) as error:
            raise self._incomplete(ANSWERS, error) from None
        if not arrays:
            return None
        return (EveryAnswer if "expected" in arrays else EveryScore)(**arrays)

    def paired_scores(self) -> EveryScore | None:
        """Return the scores whose means are the two models'; None after a transfer.

        Of images and captions, which have one output, those of captions alone are kept: no mean of theirs is a score.
        """
        found = self.every_score()
        return None if isinstance(found, EveryAnswer) and len(self.labels()) == 1 else found

    def labels(self) -> tuple[str, ...]:
        """Return the name of each class."""
        try:
            return tuple(str(label) for label in json.loads((self.path / LABELS).read_text()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise self._incomplete(LABELS, error) from None

    def transforms(self) -> Transforms:
        """Return the transforms from a question and an image to the model's inputs."""
        from tokenizers import Tokenizer

        from compressor.families import FAMILIES

        family = FAMILIES[self.manifest.family]
        if not family.names_of("text"):
            return family.transforms(self.dims, None)
        try:
            tokenizer = Tokenizer.from_file(str(self.path / TOKENIZER_FILE))
        except Exception as error:  # tokenizers raises plain Exception
            raise self._incomplete(TOKENIZER_FILE, error) from None
        return family.transforms(self.dims, tokenizer)

    def source_file(self, name: str) -> Path | None:
        """Return a file of settings or of the tokenizer as it came with the checkpoint; None where there was none."""
        path = self.path / SOURCE / name
        return path if path.is_file() else None

    def search_log(self) -> list[LogEntry]:
        """Return every subset that the search scored, in order; empty without a search."""
        path = self.path / SEARCH_LOG
        try:
            return (
                [LogEntry.model_validate_json(line) for line in path.read_text().splitlines()] if path.exists() else []
            )
        except (OSError, ValueError) as error:
            raise self._incomplete(SEARCH_LOG, error) from None

    def search_result(self) -> SearchResult | None:
        """Return the search's result; None without a search."""
        path = self.path / SEARCH
        try:
            return SearchResult.model_validate_json(path.read_bytes()) if path.exists() else None
        except (OSError, ValidationError) as error:
            raise self._incomplete(SEARCH, error) from None

    def _tensors(self, name: str) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        try:
            return load_file(self.path / name)
        except (OSError, SafetensorError) as error:
            raise self._incomplete(name, error) from None

    def _incomplete(self, name: str, error: Exception) -> DasError:
        return input_error(
            "run-incomplete", f"{self.path / name} cannot be read ({error})", "a complete run", "compress again"
        )


def find_source(source: Source, moved: str | Path | None = None) -> Path:
    """Return the full checkpoint that something was made of: where ``source`` says, or where it was ``moved``.

    Raises:
        InputError: it is gone or has changed since.
    """
    from compressor.checkpoints.read import checkpoint_sha256

    path = Path(moved or source.path)
    if not path.exists():
        raise input_error(
            "checkpoint-gone",
            f"the full checkpoint {path} is gone",
            "the checkpoint that was compressed, to compare with",
            "put it back, or compress it again from its new place",
        )
    if checkpoint_sha256(path) != source.sha256:
        raise input_error(
            "checkpoint-changed",
            f"{path} has changed since it was compressed",
            f"sha256 {source.sha256[:16]}...",
            "compress it again",
        )
    return path


def is_run(path: str | Path) -> bool:
    """Return whether ``path`` is a run folder; of ``runs/latest`` it is said where that leads nowhere, too."""
    return Path(path) == ROOT / LATEST or (_folder_at(path) / MANIFEST).exists()


def open_run(path: str | Path | None = None) -> Run:
    """Open a run folder whose model is to be built; None opens ``runs/latest``.

    Raises:
        InputError: as :func:`read_run`, or the manifest's sizes are those of no model.
    """
    run = read_run(path)
    check_dims(run.manifest, run.path / MANIFEST)
    return run


def read_run(path: str | Path | None = None) -> Run:
    """Open a run folder of which only what it says of itself is read; None opens ``runs/latest``.

    Raises:
        InputError: no run there, or one whose manifest is damaged or of a newer das.
    """
    named = Path(path) if path is not None else ROOT / LATEST
    folder = _folder_at(named)
    manifest = folder / MANIFEST
    if not manifest.exists():
        refuse_tuned(folder)
        there = [str(found.parent) for found in sorted(folder.glob(f"*/{MANIFEST}"))] or [*map(str, find_runs())]
        raise input_error(
            "run-missing",
            f"no run in {named}" + (f"; there is {', '.join(there)}" if there else ""),
            f"a run folder with {MANIFEST}",
            "name one of these, or das compress CKPT --skip 2" if there else "das compress CKPT --skip 2",
        )
    return Run(folder.resolve(), read_manifest(manifest))


def _folder_at(path: str | Path) -> Path:
    """Return the folder that ``path`` means: ``latest`` may be a link of the kind that is a file."""
    return follow_link(Path(path)) if Path(path).name == LATEST else Path(path)
