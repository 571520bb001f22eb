"""The settings of a compression."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError

from compressor.errors import Problem, UsageError, usage_error
from compressor.search.budgets import KINDS, Budget, parse_budget
from compressor.values import Value, list_faults

PLACES = {"out", "data", "calibration", "checkpoint", "tokenizer"}  # settings that may differ when a run is resumed
LARGEST_SEED = 2**63 - 1  # that PyTorch takes, and every reader of JSON
LAYER, HALF = GRANULARITIES = ("layer", "half")
SomeSettings = TypeVar("SomeSettings", bound=Value)


class Choice(StrEnum):
    """How the layers to skip are chosen; where there is no search the value is a run's ``strategy``.

    With ``adapt`` strategy ``random`` is a lot and no search: no subset can be scored before there is a trained head.
    """

    NOTHING = "none"
    NAMED = "by hand"
    LOT = "random"
    EARLIER = "earlier search"
    SEARCH = "search"


class Settings(Value):
    """Options of a compression.

    Attributes:
        checkpoint: a full fine-tuned checkpoint.
        task: name of the task; None takes the checkpoint's only head.
        skip: how many layers to skip (k); 0 with ``adapt`` or ``merge_tokens`` skips none; None when ``layers`` names
            them or there is a budget.
        max_macs, max_params, max_latency, max_drop: a budget as the user typed it (:func:`parse_budget`).
        at, runtime: quantile of ``max_latency``, and the name of a runtime, which the caller checks.
        from_run: folder of an earlier run whose search is used again (:func:`compressor.search.reuse.settings_of`).
        data: folder of the task's data; None looks around.
        columns: of files of named columns that have names of their own, by what they hold (docs/data.md).
        holdout: file, folder or split that the layers are chosen on; None is the data's own (docs/data.md).
        calibration: folder of inputs, with or without answers, in place of ``data``: the full model's are taken.
        scope: named scope or layer patterns the search may touch; None is the family's default.
        layers: names or patterns of the layers to skip, without a search.
        granularity: ``layer``, or ``half``: attention and feed-forward are skipped each for itself, so many that they
            save the MACs of ``skip`` layers (docs/half-layers.md).
        strategy: a key of ``compressor.search.strategies``; None takes the default, with ``adapt`` the paper's.
        balanced: with strategy ``random``: as many layers of each pool; MACs before exact trims are equal then.
        merge_tokens: share of the MACs of the vision layers left that merging tokens is to save, as ``0.3x``; None
            merges none (docs/token-merging.md).
        replace: what stands in place of a skipped layer: an ``adapter``, or ``none``, which lets its stream pass; or it
            is ``merged`` as a linear map into the layer in front, where norms come first.
        recover: ``train`` fits skip adapters in closed form and trains them, ``full`` trains all weights that are left,
            ``closed-form`` only fits adapters or maps, ``none`` leaves adapters as the search trained them, or without
            such a search lets the streams pass unchanged.
        seed: of everything that is drawn.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.
        out: folder of the run; None is ``runs/<checkpoint>-<task>-`` and ``skip<k>``, ``by-hand`` or the budget.
        tokenizer: file, folder or Hugging Face name; None looks around.
        image_size: pixels; None is the checkpoint's own.
        text_length: most tokens of a text; None is the checkpoint's own.
        batch_size: samples of a training step.
        search_epochs, recover_epochs: passes over the training data (paper: 3 and 10).
        learning_rate: of the skip adapters, or of all weights; None scales the paper's (:func:`scale_learning_rate`),
            or fine-tuning's (:func:`full_learning_rate`).
        train_head: train poolers and head while recovering.
        adapt: the checkpoint is pre-trained only: add parallel adapters and train them and a head, too.
        parallel_width, skip_width: bottlenecks of the adapters beside kept layers and in place of skipped ones; None
            are the family's own.
        reference: folder of a run with ``adapt`` that skips nothing: its score stands as the full model's.
    """

    model_config = ConfigDict(extra="forbid")

    checkpoint: str
    task: str | None = None
    skip: int | None = None
    max_macs: str | float | None = None
    max_params: str | float | None = None
    max_latency: str | float | None = None
    max_drop: str | float | None = None
    at: str | None = None
    runtime: str | None = None
    from_run: str | None = None
    data: str | None = None
    columns: Mapping[str, str] = {}
    holdout: str | None = None
    calibration: str | None = None
    scope: str | None = None
    layers: tuple[str, ...] = ()
    granularity: str = "layer"
    strategy: str | None = None
    balanced: bool = False
    merge_tokens: str | float | None = None
    replace: str = "adapter"
    recover: str = "train"
    seed: int = 0
    device: str | None = None
    out: str | None = None
    tokenizer: str | None = None
    image_size: int | None = None
    text_length: int | None = None
    batch_size: int = 64
    search_epochs: float = 3
    recover_epochs: float = 10
    learning_rate: float | None = None
    train_head: bool = False
    adapt: bool = False
    parallel_width: int | None = None
    skip_width: int | None = None
    reference: str | None = None

    @property
    def choice(self) -> Choice:
        """How the layers are chosen."""
        if self.skip == 0 and (self.adapt or self.merge_tokens is not None):
            return Choice.NOTHING
        if self.layers:
            return Choice.NAMED
        if self.from_run:
            return Choice.EARLIER
        return Choice.LOT if self.adapt and self.strategy == Choice.LOT else Choice.SEARCH

    @property
    def search_options(self) -> str:
        """Options of a search that are set, as a clause of a sentence; empty without any.

        ``holdout`` is none where no layer is skipped: what is held out is not trained on, as in the runs beside it.
        """
        named = {"--scope": self.scope, "--strategy": self.strategy, "--balanced": self.balanced}
        named |= {"--granularity": self.granularity != LAYER}
        named |= {"--holdout": self.holdout} if self.skip != 0 else {}
        return " and ".join(option for option, value in named.items() if value)

    @property
    def limits(self) -> dict[str, str | float]:
        """Limits of the budgets by kind; more than one are an error."""
        limits = {kind: getattr(self, f"max_{kind}") for kind in KINDS}
        return {kind: limit for kind, limit in limits.items() if limit is not None}

    @property
    def goals(self) -> list[str]:
        """Options that say what to skip, or how much; exactly one is possible."""
        named = {"--skip": self.skip is not None, "--layers": bool(self.layers)}
        return [option for option, is_set in named.items() if is_set] + [f"--max-{kind}" for kind in self.limits]

    @property
    def goals_text(self) -> str:
        """The same as a clause of a sentence."""
        return " and ".join(self.goals)

    @property
    def budget(self) -> Budget | None:
        """The budget; None where the number of layers or their names are set."""
        return next((parse_budget(kind, limit, self.at, self.runtime) for kind, limit in self.limits.items()), None)


def parse_columns(text: str) -> dict[str, str]:
    """Read ``text=review,label=sentiment``: by what they hold, the names of columns.

    Raises:
        UsageError: it is written otherwise, or names a column for one thing twice.
    """
    parts = [part.partition("=") for part in text.split(",")]
    named = {role.strip(): name.strip() for role, _, name in parts}
    if len(named) < len(parts) or not all(role and name for role, name in named.items()):
        expected = "what each column holds, once, and its name"
        raise usage_error("columns-unreadable", f"--columns {text}", expected, "--columns text=review,label=sentiment")
    return named


def make_settings(**options: Any) -> Settings:
    """Make settings from keyword arguments.

    Raises:
        UsageError: an unknown name or a value of the wrong type, all of them at once.
    """
    return read_options(Settings, "das.compress", **options)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say something: None stands for a default."""
    return {name: value for name, value in options.items() if value is not None}


def read_options(kind: type[SomeSettings], function: str, **options: Any) -> SomeSettings:
    """Make settings of a kind from the keyword arguments of a function; None is the default.

    Raises:
        UsageError: an unknown name or a value of the wrong type, all of them at once.
    """
    plain: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in given(options).items()
    }
    if isinstance(plain.get("layers"), str):  # as the command line takes them
        plain["layers"] = tuple(part.strip() for part in plain["layers"].split(",") if part.strip())
    if isinstance(plain.get("columns"), str):
        plain["columns"] = parse_columns(plain["columns"])
    if plain.get("reference"):  # runs/latest will be another one
        plain["reference"] = str(Path(plain["reference"]).resolve())
    try:
        return kind(**plain)
    except ValidationError as error:
        names = ", ".join(kind.model_fields)
        raise UsageError(
            *(
                Problem("unknown-setting", entry, f"one of: {names}", f"help({function})")
                for entry in list_faults(error)
            )
        ) from None
