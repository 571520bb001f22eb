"""A compression asked for, and the same with everything opened and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, ValidationError
from tokenizers import Tokenizer

from compressor.checkpoints.build import (
    Loaded,
    Recognised,
    Transfer,
    check_sizes,
    choose_task,
    has_own_head,
    load_checkpoint,
    recognise,
)
from compressor.checkpoints.read import sha256
from compressor.data.labels import align_labels
from compressor.data.layouts.unlabelled import read_inputs
from compressor.data.read import find_data, read_data
from compressor.data.roles import make_splits, make_unlabelled_splits
from compressor.data.splits import TaskData
from compressor.data.text import find_tokenizer
from compressor.data.types import RawDataset
from compressor.distributed import join, processes
from compressor.errors import Problem, UsageError, environment_problem, input_error, usage_error
from compressor.families import FAMILIES
from compressor.models.plan import match_layers, summarise
from compressor.models.steps import StepModel, steps_of
from compressor.models.surgery import stream_width
from compressor.progress import QUIET, Progress
from compressor.run_folder import LATEST, MANIFEST, ROOT, Run, Source, open_run
from compressor.search.budgets import DROP, KINDS, QUANTILES, RUNTIMES, Budget, parse_budget
from compressor.search.strategies import DEFAULT, STRATEGIES, TRANSFER
from compressor.tasks import TASKS, teacher_agreement
from compressor.tasks.task import Task
from compressor.training.optimiser import scaled_learning_rate, steps_per_epoch
from compressor.training.recovery import Recovery
from compressor.values import Value

MOST_SUBSETS = 100_000  # that an exhaustive search takes on
UNTIMED = "trt"  # a runtime of exports that no layer can be timed on
RECOVERIES = ("train", "closed-form", "none")
SMALL_MODEL = 5_000_000  # parameters; the published METER has 326 million


class Settings(Value):
    """What a user asks of a compression.

    Attributes:
        checkpoint: a full fine-tuned checkpoint.
        task: name of the task; None takes the checkpoint's only head.
        skip: how many layers to skip (k); None when ``layers`` names them or there is a budget.
        max_macs, max_params, max_latency, max_drop: a budget as the user typed it (:func:`parse_budget`).
        at, runtime: quantile and runtime of ``max_latency``.
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


@dataclass(frozen=True)
class Job:
    """A compression whose inputs have all been opened and checked."""

    settings: Settings
    loaded: Loaded
    data: TaskData
    tokenizer: Tokenizer
    data_root: Path
    candidates: tuple[str, ...]
    device: torch.device
    source: Source

    @property
    def model(self) -> StepModel:
        """The full model."""
        return self.loaded.model

    @property
    def task(self) -> Task:
        """What the model is for, and who says what is right: the data, or the full model."""
        return _task(self.settings, self.model.task)

    @property
    def skip(self) -> int:
        """How many layers will go."""
        return self.settings.skip or len(self.candidates)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many layers may go: the number asked for, or with a budget any."""
        return tuple(range(1, len(self.candidates) + 1)) if self.settings.limits else (self.skip,)

    @property
    def strategy(self) -> str:
        """How they are found."""
        return self.settings.strategy or (TRANSFER if self.settings.adapt else DEFAULT)

    @property
    def searches(self) -> bool:
        """Whether there is anything to find: not where the layers are named, or an earlier search is used again."""
        return not (self.settings.layers or self.settings.from_run)

    @property
    def trains_while_searching(self) -> bool:
        """Whether the search leaves trained adapters in the model."""
        return self.searches and STRATEGIES[self.strategy].trains

    @property
    def search_steps(self) -> int:
        """Training steps of the search."""
        return self._steps(self.settings.search_epochs)

    @property
    def warm_up_steps(self) -> int:
        """Steps of the search before the gates move: the first epoch, at most a third."""
        return min(self._steps(1), self.search_steps // 3)

    @property
    def recovery(self) -> Recovery:
        """The recipe of the recovery."""
        steps = self._steps(self.settings.recover_epochs)
        s = self.settings
        return Recovery(steps, s.batch_size, self.learning_rate(steps), s.seed, s.train_head, s.adapt)

    def learning_rate(self, steps: int) -> float:
        """Peak rate of the skip adapters over a training of ``steps``."""
        if self.settings.learning_rate is not None:
            return self.settings.learning_rate
        return scaled_learning_rate(stream_width(self.model, self.candidates[0]), steps)

    def _steps(self, epochs: float) -> int:
        return round(epochs * steps_per_epoch(self.settings.batch_size, len(self.data.train)))


def prepare(settings: Settings, progress: Progress = QUIET) -> Job:
    """Open and check everything a compression needs, cheapest first, before any long work.

    Raises:
        UsageError: impossible options, all of them at once.
        InputError: checkpoint, tokenizer or data unusable.
        EnvironmentProblem: the device is not there.
    """
    check_options(settings)
    torch.manual_seed(settings.seed)  # fresh heads and adapters are drawn from here
    device = choose_device(settings.device)
    checkpoint = recognise(settings.checkpoint)
    task = choose_task(checkpoint, settings.task, settings.adapt)
    _check_task(task)
    check_sizes(checkpoint, task, settings.image_size, settings.text_length)
    root, found = _find(settings, checkpoint, task, progress)
    transfer = Transfer(checkpoint.family.heads[task].classes or len(found.labels)) if settings.adapt else None
    loaded = load_checkpoint(checkpoint, task, settings.image_size, transfer, settings.text_length)
    candidates = _candidates(settings, loaded.model)
    tokenizer = _tokenizer(checkpoint, settings.tokenizer)
    transforms, classes = checkpoint.family.transforms(loaded.model.dims, tokenizer), loaded.model.dims.classes
    make = make_splits if settings.calibration is None else make_unlabelled_splits
    data = make(found, root, _task(settings, task), transforms, classes)
    for split in data.splits:
        if bad := split.records.unreadable:
            progress.say(f"{split.name}: {len(bad)} rows left out, the first is {bad[0]}")
    data.evaluation.batch([0])  # a damaged image or a wrong tokenizer shows here, not after the search
    source = Source(
        path=str(checkpoint.checkpoint.path.resolve()),
        sha256=sha256(checkpoint.checkpoint.path),
        image_size=getattr(loaded.model.dims, "image_size", None),
        transfer_classes=transfer.classes if transfer else None,
    )
    loaded.model.to(device)
    spare_threads(loaded.model)
    job = Job(settings, loaded, data, tokenizer, root, candidates, device, source)
    if job.trains_while_searching and job.search_steps <= job.warm_up_steps:
        raise usage_error(
            f"--search-epochs {settings.search_epochs:g} is {job.search_steps} steps: the gates would never move",
            "a search of some steps",
            "--search-epochs 3, or a smaller --batch-size",
        )
    _check_number_of_subsets(job)
    if min(settings.batch_size, len(data.train)) < processes():
        raise usage_error(
            f"{processes()} processes for steps of {min(settings.batch_size, len(data.train))} samples",
            "at least one sample for each",
            "fewer processes, or a larger --batch-size",
        )
    return job


def _task(settings: Settings, name: str) -> Task:
    return TASKS[name] if settings.calibration is None else teacher_agreement(TASKS[name])


def _find(settings: Settings, checkpoint: Recognised, task: str, progress: Progress) -> tuple[Path, RawDataset]:
    """The folder of the data and what is in it, with classes as the checkpoint numbers them."""
    if settings.calibration is None:
        root = find_data(settings.data, str(checkpoint.checkpoint.config.get("data_root") or ""))
        found = read_data(root, task, progress)
        own_head = has_own_head(checkpoint, task, len(found.labels), settings.adapt)
        return root, align_labels(found, checkpoint.labels, TASKS[task], own_head)
    if TASKS[task].ranked:
        raise usage_error(
            f"--calibration for {task}",
            "a task whose inputs can be had without answers: a caption beside its image is the answer",
            "--data FOLDER in its place",
        )
    root = Path(settings.calibration)
    if not root.is_dir():
        raise input_error(f"no folder {root}", "a folder of inputs (docs/data.md)", "--calibration FOLDER")
    return root, replace(read_inputs(root, task, progress), labels=checkpoint.labels)


def _check_number_of_subsets(job: Job) -> None:
    number = sum(math.comb(len(job.candidates), size) for size in job.sizes)
    if job.searches and job.strategy == "exhaustive" and number > MOST_SUBSETS:
        raise usage_error(
            f"--strategy exhaustive: {number:,} subsets of {len(job.candidates)} layers",
            f"at most {MOST_SUBSETS:,}",
            f"--strategy {DEFAULT}, or a narrower --scope",
        )


def _tokenizer(found: Recognised, source: str | None) -> Tokenizer:
    return find_tokenizer(source, found.checkpoint.path, found.checkpoint.config.get("tokenizer"))


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise usage_error(
            f"--task {task}: das loads such a head, and has no data or metric to compress it for",
            f"one of {', '.join(TASKS)}",
            f"--task {next(iter(TASKS))}",
        )


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
        raise UsageError(*(Problem(entry, f"one of: {known}", "help(das.compress)") for entry in found)) from None


def check_options(settings: Settings) -> None:
    """Refuse impossible options, all of them at once."""
    problems = _goal_problems(settings)
    if settings.skip is not None and settings.skip < 1:
        problems.append(Problem(f"--skip {settings.skip}", "at least 1 layer to skip", "--skip 8"))
    if settings.strategy is not None and settings.strategy not in STRATEGIES:
        known = f"one of {', '.join(STRATEGIES)}"
        problems.append(Problem(f"--strategy {settings.strategy}", known, f"--strategy {DEFAULT}"))
    elif settings.adapt and settings.strategy is not None and not STRATEGIES[settings.strategy].trains:
        found = f"--strategy {settings.strategy} with --adapt: a head without training says nothing about layers"
        problems.append(Problem(found, f"--strategy {TRANSFER}", "drop --strategy"))
    if settings.recover not in RECOVERIES:
        known = f"one of {', '.join(RECOVERIES)}"
        problems.append(Problem(f"--recover {settings.recover}", known, f"--recover {RECOVERIES[0]}"))
    if settings.adapt and settings.recover == "closed-form":
        found = "--adapt with --recover closed-form: what is adapted has to be trained"
        problems.append(Problem(found, "--recover train, or none", "drop --recover"))
    elif settings.adapt and settings.recover != "train" and (settings.layers or settings.from_run):
        found = f"--adapt with --recover {settings.recover} and no search: its head would stay untrained"
        problems.append(Problem(found, "--recover train", "drop --recover"))
    if settings.train_head and settings.recover != "train" and not settings.calibration:
        problems.append(
            Problem(f"--train-head with --recover {settings.recover}", "a recovery that trains", "drop --train-head")
        )
    if settings.calibration is not None:
        problems += _unlabelled_problems(settings)
    if settings.task is not None and settings.task not in TASKS:
        problems.append(Problem(f"--task {settings.task}", f"one of {', '.join(TASKS)}", f"--task {next(iter(TASKS))}"))
    if settings.layers and (settings.scope is not None or settings.strategy is not None):
        problems.append(Problem("--scope or --strategy beside --layers", "no search", "drop --scope and --strategy"))
    if settings.batch_size < 1:
        problems.append(Problem(f"--batch-size {settings.batch_size}", "at least 1 sample", "--batch-size 64"))
    if settings.seed < 0:
        problems.append(Problem(f"--seed {settings.seed}", "0 or more", "--seed 0"))
    rate = settings.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        problems.append(Problem(f"--learning-rate {rate:g}", "a positive number", "leave it out"))
    for name, epochs in (("--search-epochs", settings.search_epochs), ("--recover-epochs", settings.recover_epochs)):
        if not 0 < epochs < math.inf:
            problems.append(Problem(f"{name} {epochs:g}", "a positive number of passes over the data", f"{name} 3"))
    if problems:
        raise UsageError(*problems)
    if settings.runtime == UNTIMED:
        raise environment_problem(
            "--runtime trt: das does not time single layers in TensorRT, which a latency budget is made of",
            f"a runtime that layers can be timed on: {', '.join(RUNTIMES)}",
            "--runtime onnx, or another budget: --max-macs 0.7x",
        )


def _goal_problems(settings: Settings) -> list[Problem]:
    """What is wrong with how much, or which layers, are asked for."""
    limits = settings.limits
    goals = {"--skip": settings.skip, "--layers": settings.layers or None}
    asked = [option for option, value in goals.items() if value is not None] + [f"--max-{kind}" for kind in limits]
    options = [*goals, *(f"--max-{kind}" for kind in KINDS)]
    problems = []
    if len(asked) > 1:
        problems.append(Problem(f"{' and '.join(asked)} together", "one of them", f"drop all but {asked[0]}"))
    if not asked:
        problems.append(Problem(f"neither {' nor '.join(options)}", "what to skip, or a budget", "--skip 8"))
    for kind, limit in limits.items():
        try:
            parse_budget(kind, limit)
        except UsageError as error:
            problems += error.problems
    if limits and not settings.from_run and settings.strategy in STRATEGIES:
        if not STRATEGIES[settings.strategy].sizes:
            found = f"--strategy {settings.strategy} with {asked[0]}: it searches for one number of layers"
            problems.append(Problem(found, "a number of layers", f"--skip 8, or --strategy {DEFAULT}"))
    elif limits and settings.adapt and not settings.from_run:
        found = f"--adapt with {asked[0]}: strategy {TRANSFER} searches for one number of layers"
        problems.append(Problem(found, "a number of layers", "--skip 8"))
    if settings.adapt and DROP in limits:
        problems.append(Problem("--max-drop with --adapt", "a full model with a trained head", "--skip 8"))
    for name, value, known in (("--at", settings.at, QUANTILES), ("--runtime", settings.runtime, (*RUNTIMES, UNTIMED))):
        if value is not None and "latency" not in limits:
            problems.append(Problem(f"{name} without --max-latency", "a latency budget", f"drop {name}"))
        elif value is not None and value not in known:
            problems.append(Problem(f"{name} {value}", f"one of {', '.join(known)}", f"{name} {known[0]}"))
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
    together = Problem("--data and --calibration together", "one of them", "drop one")
    needs = [
        Problem(f"--calibration with {option}: training needs answers", "data with answers, or no training", fix)
        for option, asked, fix in refused
        if asked
    ]
    return [together, *needs] if settings.data is not None else needs


def spare_threads(model: StepModel) -> None:
    """Let PyTorch use one CPU thread for a small model: more would wait for each other longer than they work."""
    if sum(parameter.numel() for parameter in model.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)


def choose_device(name: str | None) -> torch.device:
    """The device called ``name``; None is CUDA where there is one, else the CPU. Several processes meet here.

    Raises:
        EnvironmentProblem: CUDA was asked for and is not there, or has fewer GPUs than there are processes.
        UsageError: no such kind of device.
    """
    if name not in (None, "cpu", "cuda"):
        raise UsageError(Problem(f"--device {name}", "cpu or cuda", "--device cpu"))
    if name == "cuda" and not torch.cuda.is_available():
        raise environment_problem("no CUDA device", "a GPU and a CUDA build of PyTorch", "--device cpu, or das doctor")
    return join(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def open_data(run: Run, data: str | None = None) -> TaskData:
    """The data of a run: what is named, else where it was when the run was made, else as :func:`find_data` looks.

    Raises:
        InputError: not there, unusable, or the run was made without answers.
    """
    task, own = TASKS[run.manifest.task], run.manifest.data_root
    if data is None and run.manifest.settings.get("calibration"):
        raise input_error(f"{run.path} was compressed without answers", "data with answers", "--data FOLDER")
    root = find_data(data or (own if Path(own).is_dir() else None), own)
    found = align_labels(read_data(root, task.name), run.labels(), task)
    return make_splits(found, root, task, run.transforms(), run.manifest.dims["classes"])


def open_for_evaluation(
    subject: Path, task: str | None, data: str | None, tokenizer: str | None, text_length: int | None = None
) -> tuple[StepModel, TaskData, tuple[str, ...]]:
    """A checkpoint or a run folder, the data it is to be scored on, and notes for the user.

    Raises:
        InputError: subject, tokenizer or data unusable.
    """
    if (subject / MANIFEST).exists() or subject == ROOT / LATEST:
        run = open_run(subject)
        model = run.load_slim()
        found = open_data(run, data)
        spare_threads(model)
        return model, found, ()
    checkpoint = recognise(subject)
    task = choose_task(checkpoint, task)
    _check_task(task)
    loaded = load_checkpoint(checkpoint, task, text_length=text_length)
    transforms = checkpoint.family.transforms(loaded.model.dims, _tokenizer(checkpoint, tokenizer))
    root = find_data(data, str(checkpoint.checkpoint.config.get("data_root") or ""))
    read = align_labels(read_data(root, task), checkpoint.labels, TASKS[task])
    spare_threads(loaded.model)
    return loaded.model, make_splits(read, root, TASKS[task], transforms, loaded.model.dims.classes), loaded.notes


def _candidates(settings: Settings, model: StepModel) -> tuple[str, ...]:
    """Layers that may go: those named by hand, or the scope's."""
    family = FAMILIES[model.family]
    known = family.layer_order(model.layers)
    if settings.layers:
        return match_layers(settings.layers, known)
    scope = settings.scope or next(iter(family.scopes))
    pools = family.scopes.get(scope)
    in_pools = {step.name for step in steps_of(model.rounds) if step.pool in (pools or ())}
    chosen = tuple(name for name in known if name in in_pools) if pools else match_layers(scope.split(","), known)
    if settings.skip is not None and settings.skip > len(chosen):
        raise UsageError(
            Problem(
                f"--skip {settings.skip} of {len(chosen)} layers in scope {scope} ({summarise(chosen)})",
                f"at most {len(chosen)}",
                f"--skip {min(8, len(chosen))}, or a wider --scope: {', '.join(family.scopes)}",
            )
        )
    return chosen
