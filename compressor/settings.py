"""What a user asks of a compression, and the check that it is possible."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from compressor.errors import Problem, UsageError
from compressor.search.budgets import DROP, KINDS, QUANTILES, Budget, parse_budget
from compressor.search.strategies import DEFAULT, STRATEGIES, TRANSFER
from compressor.tasks import TASKS
from compressor.values import Value

RECOVERIES = ("train", "closed-form", "none")


class Settings(Value):
    """What a user asks of a compression.

    Attributes:
        checkpoint: a full fine-tuned checkpoint.
        task: name of the task; None takes the checkpoint's only head.
        skip: how many layers to skip (k); None when ``layers`` names them or there is a budget.
        max_macs, max_params, max_latency, max_drop: a budget as the user typed it (:func:`parse_budget`).
        at, runtime: quantile of ``max_latency``, and the name of a runtime, which the caller checks.
        from_run: folder of an earlier run whose search is used again (:func:`compressor.search.reuse.settings_of`).
        data: folder of the task's data; None looks around.
        calibration: folder of inputs, with or without answers, in place of ``data``: the full model's are taken.
        scope: named scope or layer patterns the search may touch; None is the family's default.
        layers: names or patterns of the layers to skip, without a search.
        strategy: a key of ``compressor.search.strategies``; None takes the default, with ``adapt`` the paper's.
        recover: ``train`` fits skip adapters in closed form and trains them, ``closed-form`` only fits them, ``none``
            leaves them as the search trained them, or without such a search lets the streams pass unchanged.
        seed: of everything that is drawn.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.
        out: folder of the run; None is ``runs/<checkpoint>-<task>-`` and ``skip<k>``, ``by-hand`` or the budget.
        tokenizer: file, folder or Hugging Face name; None looks around.
        image_size: pixels; None is the checkpoint's own.
        text_length: tokens that texts are padded to; None is the checkpoint's own.
        batch_size: samples of a training step.
        search_epochs, recover_epochs: passes over the training data (paper: 3 and 10).
        learning_rate: of the skip adapters; None scales the paper's (:func:`scaled_learning_rate`).
        train_head: train poolers and head while recovering.
        adapt: the checkpoint is pre-trained only: add parallel adapters and train them and a head, too.
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
    calibration: str | None = None
    scope: str | None = None
    layers: tuple[str, ...] = ()
    strategy: str | None = None
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

    @property
    def limits(self) -> dict[str, str | float]:
        """The budgets that are asked for, by kind; more than one are an error."""
        asked = {kind: getattr(self, f"max_{kind}") for kind in KINDS}
        return {kind: limit for kind, limit in asked.items() if limit is not None}

    @property
    def budget(self) -> Budget | None:
        """The budget; None where the number of layers or their names are given."""
        return next((parse_budget(kind, limit, self.at, self.runtime) for kind, limit in self.limits.items()), None)


def make_settings(**given: Any) -> Settings:
    """Settings from keyword arguments.

    Raises:
        UsageError: an unknown name or a value of the wrong type, all of them at once.
    """
    plain: dict[str, Any] = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    if isinstance(plain.get("layers"), str):  # as the command line takes them
        plain["layers"] = tuple(part.strip() for part in plain["layers"].split(",") if part.strip())
    try:
        return Settings(**plain)
    except ValidationError as error:
        known = ", ".join(Settings.model_fields)
        found = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise UsageError(
            *(Problem("unknown-setting", entry, f"one of: {known}", "help(das.compress)") for entry in found)
        ) from None


def check_options(settings: Settings) -> None:
    """Refuse impossible options, all of them at once."""
    problems = _goal_problems(settings)
    if settings.skip is not None and settings.skip < 1:
        problems.append(Problem("skip-too-small", f"--skip {settings.skip}", "at least 1 layer to skip", "--skip 8"))
    if settings.strategy is not None and settings.strategy not in STRATEGIES:
        known = f"one of {', '.join(STRATEGIES)}"
        problems.append(Problem("unknown-strategy", f"--strategy {settings.strategy}", known, f"--strategy {DEFAULT}"))
    elif settings.adapt and settings.strategy is not None and not STRATEGIES[settings.strategy].trains:
        found = f"--strategy {settings.strategy} with --adapt: a head without training says nothing about layers"
        problems.append(Problem("strategy-with-adapt", found, f"--strategy {TRANSFER}", "drop --strategy"))
    if settings.recover not in RECOVERIES:
        known = f"one of {', '.join(RECOVERIES)}"
        problems.append(
            Problem("unknown-recovery", f"--recover {settings.recover}", known, f"--recover {RECOVERIES[0]}")
        )
    if settings.adapt and settings.recover == "closed-form":
        found = "--adapt with --recover closed-form: what is adapted has to be trained"
        problems.append(Problem("adapt-without-training", found, "--recover train, or none", "drop --recover"))
    elif settings.adapt and settings.recover != "train" and (settings.layers or settings.from_run):
        found = f"--adapt with --recover {settings.recover} and no search: its head would stay untrained"
        problems.append(Problem("adapt-without-training", found, "--recover train", "drop --recover"))
    if settings.train_head and settings.recover != "train" and not settings.calibration:
        problems.append(
            Problem(
                "train-head-without-training",
                f"--train-head with --recover {settings.recover}",
                "a recovery that trains",
                "drop --train-head",
            )
        )
    if settings.calibration is not None:
        problems += _unlabelled_problems(settings)
    if settings.task is not None and settings.task not in TASKS:
        problems.append(
            Problem(
                "unknown-task", f"--task {settings.task}", f"one of {', '.join(TASKS)}", f"--task {next(iter(TASKS))}"
            )
        )
    if settings.layers and (settings.scope is not None or settings.strategy is not None):
        problems.append(
            Problem(
                "search-beside-layers",
                "--scope or --strategy beside --layers",
                "no search",
                "drop --scope and --strategy",
            )
        )
    if settings.batch_size < 1:
        problems.append(
            Problem(
                "batch-size-too-small", f"--batch-size {settings.batch_size}", "at least 1 sample", "--batch-size 64"
            )
        )
    if settings.seed < 0:
        problems.append(Problem("seed-negative", f"--seed {settings.seed}", "0 or more", "--seed 0"))
    rate = settings.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        problems.append(
            Problem("learning-rate-not-positive", f"--learning-rate {rate:g}", "a positive number", "leave it out")
        )
    for name, epochs in (("--search-epochs", settings.search_epochs), ("--recover-epochs", settings.recover_epochs)):
        if not 0 < epochs < math.inf:
            problems.append(
                Problem(
                    "epochs-not-positive",
                    f"{name} {epochs:g}",
                    "a positive number of passes over the data",
                    f"{name} 3",
                )
            )
    if problems:
        raise UsageError(*problems)


def _goal_problems(settings: Settings) -> list[Problem]:
    """What is wrong with how much, or which layers, are asked for."""
    limits = settings.limits
    goals = {"--skip": settings.skip, "--layers": settings.layers or None}
    asked = [option for option, value in goals.items() if value is not None] + [f"--max-{kind}" for kind in limits]
    options = [*goals, *(f"--max-{kind}" for kind in KINDS)]
    problems = []
    if len(asked) > 1:
        problems.append(
            Problem("goals-together", f"{' and '.join(asked)} together", "one of them", f"drop all but {asked[0]}")
        )
    if not asked:
        problems.append(
            Problem("goal-missing", f"neither {' nor '.join(options)}", "what to skip, or a budget", "--skip 8")
        )
    for kind, limit in limits.items():
        try:
            parse_budget(kind, limit)
        except UsageError as error:
            problems += error.problems
    if limits and not settings.from_run and settings.strategy in STRATEGIES:
        if not STRATEGIES[settings.strategy].any_size:
            found = f"--strategy {settings.strategy} with {asked[0]}: it searches for one number of layers"
            problems.append(
                Problem("budget-without-sizes", found, "a number of layers", f"--skip 8, or --strategy {DEFAULT}")
            )
    elif limits and settings.adapt and not settings.from_run:
        found = f"--adapt with {asked[0]}: strategy {TRANSFER} searches for one number of layers"
        problems.append(Problem("budget-without-sizes", found, "a number of layers", "--skip 8"))
    if settings.adapt and DROP in limits:
        problems.append(
            Problem("drop-with-adapt", "--max-drop with --adapt", "a full model with a trained head", "--skip 8")
        )
    for name, value in (("--at", settings.at), ("--runtime", settings.runtime)):
        if value is not None and "latency" not in limits:
            problems.append(
                Problem("latency-budget-missing", f"{name} without --max-latency", "a latency budget", f"drop {name}")
            )
    if "latency" in limits and settings.at not in (None, *QUANTILES):
        problems.append(
            Problem("unknown-quantile", f"--at {settings.at}", f"one of {', '.join(QUANTILES)}", f"--at {QUANTILES[0]}")
        )
    return problems


def _unlabelled_problems(settings: Settings) -> list[Problem]:
    """What needs answers, and cannot be had with ``--calibration``."""
    training = [name for name, kind in STRATEGIES.items() if kind.trains]
    refused = (
        ("--recover train", settings.recover == "train", "--recover closed-form, or --data FOLDER"),
        (f"--strategy {settings.strategy}", settings.strategy in training, f"--strategy {DEFAULT}, or --data FOLDER"),
        ("--adapt", settings.adapt, "--data FOLDER"),
        ("--train-head", settings.train_head, "drop --train-head, or --data FOLDER"),
    )
    together = Problem("data-beside-calibration", "--data and --calibration together", "one of them", "drop one")
    needs = [
        Problem(
            "calibration-without-answers",
            f"--calibration with {option}: training needs answers",
            "data with answers, or no training",
            fix,
        )
        for option, asked, fix in refused
        if asked
    ]
    return [together, *needs] if settings.data is not None else needs
