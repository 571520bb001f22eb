"""The folder that a tuning leaves: the trained tensors, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError

from compressor.errors import input_error
from compressor.evaluation.score import Score
from compressor.files import TUNED_FILE, atomic_folder
from compressor.saved_run.manifest import Source
from compressor.tuning.tune_settings import TuneSettings
from compressor.values import Value, list_faults

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.models.steps import StepModel

TENSORS = "tuned.safetensors"
SCHEMA_VERSION = 1


class Tuned(Value):
    """A checkpoint adapted by a method, and what came of it.

    Attributes:
        folder: where it lies.
        family, task: of the model.
        dims: sizes of the model.
        source: the pre-trained checkpoint, which is needed to load the model.
        settings: what was asked for.
        steps: of training.
        learning_rate, head_learning_rate: peaks; of poolers and head apart.
        score: on the evaluation split; ``apart`` on further splits by name.
        floor: score of a guesser that sees one modality only, or nothing.
        updated_parameters: how many were trained, by what they are.
        macs: of one sample of the full text length; 1 MAC = 2 FLOPs.
        additional_macs: of these, those that the plain model does not have.
        seconds: that each part took: ``train``, ``evaluate``.
        data, data_root: the splits, and the folder they were read in.
        device, versions, command: where and how.
    """

    schema_version: int = SCHEMA_VERSION
    folder: str
    family: str
    task: str
    dims: Mapping[str, Any]
    source: Source
    settings: TuneSettings
    steps: int
    learning_rate: float
    head_learning_rate: float
    score: Score
    apart: Mapping[str, Score] = {}
    floor: float
    updated_parameters: Mapping[str, int]
    macs: int
    additional_macs: int
    seconds: Mapping[str, float]
    data: tuple[Mapping[str, Any], ...]
    data_root: str
    device: str
    versions: Mapping[str, str]
    command: str

    @property
    def method(self) -> str:
        """Key of the method."""
        return self.settings.method

    @property
    def seed(self) -> int:
        """Of everything that was drawn."""
        return self.settings.seed

    @property
    def evaluation_split(self) -> str:
        """Name of the split that the score comes from: ``data`` lists training, held-out and evaluation split first."""
        return str(self.data[2]["name"])

    def load(self) -> StepModel:
        """Return the adapted model in eval mode on the CPU, LoRA merged into plain weights.

        Raises:
            InputError: the checkpoint is gone or has changed, or the tensors are damaged.
            EnvironmentProblem: peft is not there, and the method needs it.
        """
        from compressor.checkpoints.build import load_checkpoint
        from compressor.checkpoints.finite import check_finite
        from compressor.checkpoints.sizes import Transfer
        from compressor.costs.parts import without_adapters
        from compressor.saved_run.run_folder import find_source
        from compressor.tuning.apply_method import apply_method, is_head
        from compressor.tuning.lora import merge_lora
        from compressor.tuning.methods import find_method

        assert self.source.transfer_classes is not None
        path, transfer = find_source(self.source), Transfer(self.source.transfer_classes)
        length = self.dims["text_length"]
        loaded = load_checkpoint(path, self.task, self.source.image_size, transfer, length)
        model = without_adapters(loaded.model)
        trained = {*apply_method(model, find_method(self.method))}
        expected = {name: x.shape for name, x in model.named_parameters() if name in trained or is_head(name)}
        tensors = self._tensors()
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise _damaged(Path(self.folder) / TENSORS, f"its tensors are not those that {self.method} trains")
        check_finite(tensors.items(), Path(self.folder) / TENSORS)
        model.load_state_dict(tensors, strict=False)
        merge_lora(model)
        return model.eval().requires_grad_(False)

    def _tensors(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        path = Path(self.folder) / TENSORS
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise _damaged(path, str(error)) from None


def is_tuned(folder: str | Path) -> bool:
    """Return whether a folder is what a tuning left."""
    return (Path(folder) / TUNED_FILE).is_file()


def open_tuned(folder: str | Path) -> Tuned:
    """Open the folder that a tuning left.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = Path(folder) / TUNED_FILE
    if not path.exists():
        raise input_error(
            "tuned-missing", f"no {TUNED_FILE} in {folder}", "a folder of das tune", "das tune CKPT --method lora"
        )
    try:
        tuned = Tuned.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = list_faults(error)[0] if isinstance(error, ValidationError) else str(error)
        raise _damaged(path, reason) from None
    return tuned.model_copy(update={"folder": str(Path(folder).resolve())})


def save_tuned(tuned: Tuned, tensors: Mapping[str, Tensor]) -> None:
    """Write the folder, whole or not at all.

    Raises:
        EnvironmentProblem: the disk is full or the folder cannot be written; nothing is left behind.
    """
    from safetensors.torch import save_file

    with atomic_folder(Path(tuned.folder), "free some space, then the same command with --resume") as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
        (temporary / TUNED_FILE).write_text(tuned.model_dump_json(indent=2))


def _damaged(path: Path, reason: str) -> Exception:
    return input_error("tuned-damaged", f"{path} is damaged: {reason}", "what das tune wrote", "tune again")
