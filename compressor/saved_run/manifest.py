"""The manifest of a run: what was compressed and how, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from compressor.costs.model_costs import ModelCosts
from compressor.errors import InputError, Problem, input_error
from compressor.evaluation.score import IndexRecall, Score
from compressor.files import read_settings
from compressor.models.plan import Plan
from compressor.search.budgets import BudgetResult
from compressor.settings import Settings
from compressor.values import Value, list_faults

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
PACKAGES = ("python", "das-toolkit", "torch", "transformers", "tokenizers", "safetensors")  # that a result depends on


class Source(Value):
    """The full checkpoint that was compressed."""

    path: str
    sha256: str
    image_size: int | None = None
    transfer_classes: int | None = None


class RunSettings(Settings):
    """What was asked for, but for the folder of the run, and the recipe that came of it.

    Attributes:
        search_steps, recover_steps: of training; 0 where nothing is trained.
        search_learning_rate, recover_learning_rate: of the skip adapters; None where nothing is trained.
    """

    model_config = ConfigDict(extra="ignore")  # what later versions add

    out: str | None = Field(default=None, exclude=True)
    search_steps: int = 0
    search_learning_rate: float | None = None
    recover_steps: int = 0
    recover_learning_rate: float | None = None


class ScorePair(Value):
    """Scores of the full model, None after a transfer, and of the slim one."""

    full: Score | None
    slim: Score


class Results(Value):
    """Measurements of a compression: of the evaluation split, and in ``apart`` of further splits by name.

    ``full`` is None after a transfer; ``floor`` is the score of a guesser that sees one modality only; ``remarks`` say
    what makes the full model's score implausible, and where layers are chosen on data that it has probably seen;
    ``index`` is what slim embeddings find in the full model's index, None for other tasks;
    ``answer_agreement`` is None after a transfer, and of tasks whose outputs are no answers but numbers or vectors.
    """

    full: Score | None
    slim: Score
    apart: Mapping[str, ScorePair] = {}
    floor: float
    answer_agreement: float | None
    index: IndexRecall | None = None
    seconds: Mapping[str, float]
    remarks: tuple[str, ...] = ()


class Manifest(Value):
    """A run's description, one JSON document.

    ``pairs`` says whether the texts of its data were pairs; None in runs that were made before that was written down.
    """

    schema_version: int = SCHEMA_VERSION
    family: str
    task: str
    dims: Mapping[str, Any]
    plan: Plan
    strategy: str
    candidates: tuple[str, ...]
    source: Source
    data: tuple[Mapping[str, Any], ...]
    data_root: str
    pairs: bool | None = None
    settings: RunSettings
    updated_parameters: Mapping[str, int]
    device: str
    versions: Mapping[str, str]
    command: str
    results: Results
    costs: ModelCosts
    budget: BudgetResult | None = None

    @property
    def labelled(self) -> bool:
        """True where the data has labels; else the full model does (``--calibration``)."""
        return self.settings.calibration is None

    @property
    def evaluation_split(self) -> str:
        """Name of the split that scores come from: ``data`` lists training, held-out and evaluation split first."""
        return str(self.data[2]["name"])


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    import platform
    from importlib.metadata import version

    python, *packages = PACKAGES
    return {python: platform.python_version(), **{package: version(package) for package in packages}}


def read_manifest(path: Path) -> Manifest:
    """Read ``manifest.json``; whether its sizes make a model is left to :func:`check_dims`.

    Raises:
        InputError: it is damaged, or of another version of das.
    """
    _check_version(path)
    with _damaged(path):
        return Manifest.model_validate_json(path.read_bytes())


def check_dims(manifest: Manifest, path: Path) -> None:
    """Hold that the family and its sizes are those of a model; this imports the families, and so PyTorch.

    Raises:
        InputError: they are not, or no package here registers the family; ``path`` is where the manifest was read.
    """
    from compressor.families import FAMILIES

    if manifest.family not in FAMILIES:
        raise InputError(_missing_family(manifest, path, tuple(FAMILIES)), *FAMILIES.problems)
    with _damaged(path):
        dims = FAMILIES[manifest.family].dims_type(**manifest.dims)
        if dims.text_length > dims.longest_text:
            raise ValueError(f"dims.text_length {dims.text_length} is over {dims.longest_text}, the longest text")
        if getattr(dims, "merged_tokens", ()) and not FAMILIES[manifest.family].merging:
            raise ValueError(f"dims.merged_tokens in a {manifest.family}, which merges none")


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError) as error:
        raise input_error(
            "manifest-damaged",
            f"{path} is damaged: {_first_problem(error)}",
            f"a manifest of schema version {SCHEMA_VERSION}",
            "compress again",
        ) from None


def _check_version(path: Path) -> None:
    """Refuse the manifest of another version of das.

    Raises:
        InputError: names the command that makes the run again.
    """
    try:
        content = read_settings(path)
        version, command = int(content["schema_version"]), str(content.get("command") or "das compress")
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # what is damaged is named when it is validated
    if version > SCHEMA_VERSION:
        raise input_error(
            "schema-too-new",
            f"{path} has schema version {version}",
            f"at most {SCHEMA_VERSION}",
            "a newer das wrote it: pip install --upgrade das-toolkit",
        )
    if version < SCHEMA_VERSION:
        raise input_error(
            "schema-too-old",
            f"{path} has schema version {version}",
            f"schema version {SCHEMA_VERSION}, which holds what full and slim cost",
            f"make the run again: {command}",
        )


def _missing_family(manifest: Manifest, path: Path, known: tuple[str, ...]) -> Problem:
    """Return the problem of a sound run of a family of another package."""
    others = [f"{name}=={version}" for name, version in manifest.versions.items() if name not in PACKAGES]
    package = " ".join(others) or "the package that registers it"
    return Problem(
        "family-missing",
        f"{path} is sound, and of the family {manifest.family}, which no package here registers",
        f"one of {', '.join(known)}",
        f"install {package}; a family that a program adds to das itself is not known to the processes das starts",
    )


def _first_problem(error: ValueError | KeyError) -> str:
    if isinstance(error, KeyError):
        return f"its dims lack {error}, or that is unknown"
    if isinstance(error, ValidationError):
        return list_faults(error)[0]
    return str(error)
