"""A compression whose inputs have been opened and checked."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from compressor.checkpoints.build import Loaded, load_checkpoint
from compressor.checkpoints.find_tokenizer import FoundTokenizer, find_tokenizer
from compressor.checkpoints.read import checkpoint_sha256
from compressor.checkpoints.recognise import Recognised, choose_task, recognise
from compressor.checkpoints.sizes import Transfer, check_sizes, has_own_head, sizes_that_fit
from compressor.checkpoints.sources.source_files import find_source_files
from compressor.costs.parts import without_adapters, without_idle
from compressor.data.batches import steps_per_epoch
from compressor.data.held_out import add_held_out
from compressor.data.labels import align_labels
from compressor.data.read_data import find_data, layouts_of, read_data
from compressor.data.read_unlabelled import read_unlabelled
from compressor.data.roles import TENTH, make_splits, make_unlabelled_splits
from compressor.data.splits import TaskData, describe_dropped, fit_text_length, note_cut
from compressor.data.types import RawDataset, Reading
from compressor.device import choose_device, limit_threads
from compressor.distributed import world_size
from compressor.errors import Checks, Problem, UsageError, input_error, usage_error
from compressor.evaluation.reference_run import check_reference, open_reference_run
from compressor.families import FAMILIES, Family
from compressor.manifest import Source
from compressor.models.plan import Plan, match_layers, summarise
from compressor.models.steps import StepModel, steps_of
from compressor.models.surgery import make_plan, remove_layers, stream_width
from compressor.progress import QUIET, Progress
from compressor.run_folder import Run, open_run
from compressor.search.option_rules import ADAPTER, FULL, MERGED, TRAINED, check_labels, check_options
from compressor.search.strategies import DEFAULT, STRATEGIES, TRANSFER
from compressor.settings import Choice, Settings
from compressor.tasks import TASKS, check_task
from compressor.tasks.task import Task, teacher_agreement
from compressor.token_merging.merge_layers import set_merging
from compressor.token_merging.merge_schedule import check_merging, parse_share, schedule_merging
from compressor.training.optimiser import full_learning_rate, scale_learning_rate
from compressor.training.recovery import Recovery

MOST_SUBSETS = 100_000  # that an exhaustive search takes on


@dataclass(frozen=True)
class Inputs:
    """What a compression is given, checked as far as that is cheap: no table and no weight has been read.

    Attributes:
        checkpoint: to be compressed.
        task: to be compressed for.
        candidates: layers that may be skipped.
        words: the tokenizer.
        root: folder of the data.
        device: to work on.
        folder: where the run will lie; None where none is made.
        reference: the run whose score stands as the full model's; None where that has its own, or there is none.
    """

    checkpoint: Recognised
    task: str
    candidates: tuple[str, ...]
    words: FoundTokenizer
    root: Path
    device: torch.device
    folder: Path | None = None
    reference: Run | None = None


@dataclass(frozen=True)
class Job:
    """A compression whose inputs have all been opened and checked; ``reference`` as in :class:`Inputs`."""

    settings: Settings
    loaded: Loaded
    data: TaskData
    tokenizer: Tokenizer | None
    data_root: Path
    candidates: tuple[str, ...]
    device: torch.device
    source: Source
    source_files: Mapping[str, Path]
    reference: Run | None = None

    @property
    def model(self) -> StepModel:
        """The full model."""
        return self.loaded.model

    @property
    def task(self) -> Task:
        """The model's task, judged by the data's labels or by the full model's answers."""
        return _task(self.settings, self.model.task)

    @property
    def tokens_digest(self) -> str:
        """SHA-256 of the tokenizer; empty without one."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest() if self.tokenizer else ""

    @property
    def skip(self) -> int:
        """Number of layers to skip."""
        return self.settings.skip or len(self.candidates)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of layers that may be skipped: the one asked for, or with a budget any."""
        return tuple(range(1, len(self.candidates) + 1)) if self.settings.limits else (self.skip,)

    @property
    def strategy(self) -> str:
        """Name of the search strategy."""
        return self.settings.strategy or (TRANSFER if self.settings.adapt else DEFAULT)

    @property
    def searches(self) -> bool:
        """True where there is a search."""
        return self.settings.choice is Choice.SEARCH

    @property
    def asks_full(self) -> bool:
        """True where the full model says what the inputs' targets are."""
        return self.settings.calibration is not None or self.task.taught

    @property
    def plain(self) -> StepModel:
        """The full model that costs are compared with: without skip adapters, and with ``--adapt`` parallel ones."""
        return without_adapters(self.model) if self.settings.adapt else without_idle(self.model)

    @property
    def trains_while_searching(self) -> bool:
        """True where the search leaves trained adapters in the model."""
        return self.searches and STRATEGIES[self.strategy].trains

    @property
    def has_adapters(self) -> bool:
        """True where adapters stand in place of skipped layers."""
        return self.settings.replace == ADAPTER

    @property
    def merges(self) -> bool:
        """True where what skipped layers did is merged into the layers in front of them."""
        return self.settings.replace == MERGED and bool(self.candidates)

    def plan(self, layers: Sequence[str]) -> Plan:
        """Return the plan that skips ``layers``, with what is asked for in their place."""
        return make_plan(self.model, layers, self.has_adapters, self.settings.skip_width)

    def cut(self, plan: Plan, copy_kept: bool = True) -> StepModel:
        """Return the slim model of a plan, untrained: layers removed, and tokens merged where that is asked for."""
        return self.merge_tokens(remove_layers(self.model, plan, copy_kept))

    def merge_tokens(self, model: StepModel) -> StepModel:
        """Return a model of the same weights that merges tokens; the model itself where that is not asked for.

        Raises:
            UsageError: the vision layers that are left cannot save so much.
        """
        if self.settings.merge_tokens is None:
            return model
        share = parse_share(self.settings.merge_tokens)
        dims = schedule_merging(FAMILIES[model.family], model.dims, model.task, model.skipped, share)
        return set_merging(model, dims.merged_tokens)

    @property
    def fits_adapters(self) -> bool:
        """True where the recovery begins with adapters that are fitted by least squares."""
        fits = self.has_adapters and self.settings.recover != "none" and not self.settings.adapt
        return fits and bool(self.candidates)

    @property
    def trains_in_recovery(self) -> bool:
        """True where the recovery trains: that of adapters needs some, or a head to train."""
        s = self.settings
        return s.recover == FULL or (s.recover in TRAINED and (bool(self.candidates) or s.adapt or s.train_head))

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
        full = s.recover == FULL
        rate = s.learning_rate or full_learning_rate(self._width) if full else self.learning_rate(steps)
        return Recovery(steps, s.batch_size, rate, s.seed, s.train_head, s.adapt, full)

    def sample(self) -> dict[str, Tensor]:
        """Return the first evaluation sample, (1, ...) by name, on the job's device: costs are those of this one.

        Its text has the full length, whatever it says.
        """
        inputs = self.data.evaluation.inputs([0], full_length=True)
        return {name: value.to(self.device) for name, value in inputs.items()}

    def learning_rate(self, steps: int) -> float:
        """Return the peak rate of the skip adapters over a training of ``steps``."""
        if self.settings.learning_rate is not None:
            return self.settings.learning_rate
        return scale_learning_rate(self._width, steps)

    @property
    def _width(self) -> int:
        """Width of the streams that are trained on."""
        return stream_width(self.model, self.candidates[0]) if self.candidates else int(self.model.dims.hidden)

    def _steps(self, epochs: float) -> int:
        return round(epochs * steps_per_epoch(self.settings.batch_size, len(self.data.train)))


def open_inputs(settings: Settings, find_folder: Callable[[str | None], Path] | None = None) -> Inputs:
    """Check everything about a compression that is cheap to check; what is wrong is reported together.

    Args:
        settings: what is asked for.
        find_folder: from the task to the folder of the run to be; None where none is made.

    Raises:
        UsageError: impossible options, among all other problems.
        InputError: checkpoint, tokenizer or folders unusable.
        EnvironmentProblem: the device is not there, or the folder cannot be written.
    """
    checks, named, folder, reference = Checks(), settings.data or settings.calibration, None, None
    checkpoint: Recognised | None = None
    named_task = settings.task
    with checks:
        check_options(settings)
    with checks:
        device = choose_device(settings.device)
    with checks:
        checkpoint = recognise(settings.checkpoint)
    config = checkpoint.checkpoint.config if checkpoint else {}
    if checkpoint:
        with checks:
            named_task = task = choose_task(checkpoint, settings.task, settings.adapt)
            check_task(task)
            with checks:
                _check_answers(settings, task)
            with checks:
                layouts_of(task, settings.columns)
            with checks:
                check_sizes(
                    checkpoint,
                    task,
                    settings.image_size,
                    settings.text_length,
                    parallel_width=settings.parallel_width,
                    skip_width=settings.skip_width,
                )
            with checks:
                candidates = _candidates(settings, checkpoint, task)
                with checks:
                    _check_merging_tokens(settings, checkpoint, task, candidates)
            with checks:
                reference = open_reference_run(settings.reference, task) if settings.reference else None
    if checkpoint or settings.tokenizer:
        with checks:
            path = checkpoint.checkpoint.path if checkpoint else Path(settings.checkpoint)
            reads_text = checkpoint is None or bool(checkpoint.family.names_of("text"))
            words = find_tokenizer(settings.tokenizer, path, config.get("tokenizer"), reads_text)
    if checkpoint or named:
        with checks:
            root = _find_root(settings, str(config.get("data_root") or ""))
    if find_folder and (world_size() == 1 or not checks.found):  # several processes ask the main one, if all are there
        with checks:
            folder = find_folder(named_task)
    checks.raise_found()
    assert checkpoint
    return Inputs(checkpoint, task, candidates, words, root, device, folder, reference)


def prepare_job(settings: Settings, progress: Progress = QUIET, inputs: Inputs | None = None) -> Job:
    """Open and check everything a compression needs, cheapest first, before any long work.

    Args:
        settings: what is asked for.
        progress: told about the rows that are read.
        inputs: of these settings, where they are open already.

    Raises:
        UsageError: impossible options.
        InputError: checkpoint, tokenizer or data unusable.
        EnvironmentProblem: the device is not there.
    """
    inputs = inputs or open_inputs(settings)
    checkpoint, task, words, root = inputs.checkpoint, inputs.task, inputs.words, inputs.root
    torch.manual_seed(settings.seed)  # fresh heads and adapters are drawn from here
    dataset = _read_dataset(settings, inputs, progress)
    if settings.holdout is not None:
        dataset = add_held_out(dataset, settings.holdout, task, Reading(progress), settings.columns)
    classes = checkpoint.family.heads[task].classes or len(dataset.labels)
    transfer = Transfer(classes, settings.parallel_width) if settings.adapt else None
    size, length = settings.image_size, settings.text_length
    loaded = load_checkpoint(checkpoint, task, size, transfer, length, words.longest)
    transforms = checkpoint.family.transforms(loaded.model.dims, words.tokenizer)
    for note in (*words.notes, *transforms.text.notes, *dataset.notes):
        progress.say(note)
    make = make_splits if settings.calibration is None else make_unlabelled_splits
    data = make(dataset, root, _task(settings, task), transforms, loaded.model.dims.classes)
    for split in data.splits:
        if bad := split.records.unreadable:
            progress.say(f"{split.name}: {len(bad)} rows left out, the first is {bad[0]}")
        if dropped := split.records.dropped:
            progress.say(f"{split.name}: {describe_dropped(dropped, len(split), split.left_out)}")
    if length is None:
        dims = loaded.model.dims
        most = min(dims.longest_text, words.longest or dims.longest_text)
        if not checkpoint.family.names_of("image"):
            fitted = fit_text_length((data.evaluation, data.held_out), (data.train,), most)
            loaded.model.dims = dims.model_copy(update={"text_length": fitted})
        for note in note_cut(data.evaluation, most):
            progress.say(f"note: {note}")
    data.evaluation.batch([0])  # a damaged image or a wrong tokenizer shows here, not after the search
    source = Source(
        path=str(checkpoint.checkpoint.path.absolute()),  # a link keeps its name: files of a cache have none
        sha256=_checkpoint_digest(settings, checkpoint),
        image_size=getattr(loaded.model.dims, "image_size", None),
        transfer_classes=transfer.classes if transfer else None,
    )
    if inputs.reference:
        check_reference(inputs.reference, source, loaded.model.dims, data.labels, data.splits)
    loaded.model.to(inputs.device)
    limit_threads(loaded.model)
    files = find_source_files(checkpoint.checkpoint.path, words.folder)
    job = Job(
        settings, loaded, data, words.tokenizer, root, inputs.candidates, inputs.device, source, files, inputs.reference
    )
    _check_work(job)
    return job


def remark_on_held_out(job: Job) -> tuple[str, ...]:
    """Return a sentence where layers are chosen on data that the checkpoint has probably been trained on, else none."""
    settings, held_out = job.settings, job.data.held_out
    decided = ["the layers are chosen"] * job.searches + ["--max-drop is decided"] * (settings.max_drop is not None)
    named = Path(settings.holdout or "")
    of_training = named.is_file() and any(named.samefile(file) for file in job.data.train.records.files)
    if settings.adapt or job.task.taught or not decided or not (of_training or held_out.name == TENTH):
        return ()
    seen = "training data, which the checkpoint has probably seen: scores there are optimistic"
    return (f"{' and '.join(decided).capitalize()} on {seen}. --holdout names other data.",)


def _checkpoint_digest(settings: Settings, checkpoint: Recognised) -> str:
    """Return the checkpoint's SHA-256; that of an earlier run was compared when its settings were taken over."""
    if settings.from_run:
        return open_run(settings.from_run).manifest.source.sha256
    return checkpoint_sha256(checkpoint.checkpoint.path)


def _check_work(job: Job) -> None:
    """Refuse what takes data and model to be seen: work of too few steps or too many subsets, and the like."""
    settings = job.settings
    own = {name: adapter.width for name, adapter in job.model.skips.items() if name in job.candidates}
    if others := {name: width for name, width in own.items() if settings.skip_width not in (None, width)}:
        name, width = next(iter(others.items()))
        raise usage_error(
            "adapter-width-differs",
            f"--skip-width {settings.skip_width}: the checkpoint brings a skip adapter of {width} for {name} along",
            f"its own width, {width}",
            "drop --skip-width",
        )
    if job.trains_while_searching and job.search_steps <= job.warm_up_steps:
        raise usage_error(
            "search-too-short",
            f"--search-epochs {settings.search_epochs:g} is {job.search_steps} steps: the gates would never move",
            "a search of some steps",
            "--search-epochs 3, or a smaller --batch-size",
        )
    if job.trains_in_recovery and not job.recovery.steps:
        raise usage_error(
            "recovery-too-short",
            f"--recover-epochs {settings.recover_epochs:g} of {len(job.data.train):,} samples is no step",
            "a recovery of some steps",
            "--recover-epochs 1, or a smaller --batch-size",
        )
    subsets = sum(math.comb(len(job.candidates), size) for size in job.sizes)
    if job.searches and job.strategy == "exhaustive" and subsets > MOST_SUBSETS:
        raise usage_error(
            "too-many-subsets",
            f"--strategy exhaustive: {subsets:,} subsets of {len(job.candidates)} layers",
            f"at most {MOST_SUBSETS:,}",
            f"--strategy {DEFAULT}, or a narrower --scope",
        )
    samples = min(settings.batch_size, len(job.data.train))
    if samples < world_size():
        raise usage_error(
            "too-many-processes",
            f"{world_size()} processes for steps of {samples} samples",
            "at least one sample for each",
            "fewer processes, or a larger --batch-size",
        )


def _task(settings: Settings, name: str) -> Task:
    return TASKS[name] if settings.calibration is None else teacher_agreement(TASKS[name])


def _find_root(settings: Settings, recorded: str) -> Path:
    """Return the folder of the data, or of the inputs without answers."""
    if settings.calibration is None:
        return find_data(settings.data, recorded)
    root = Path(settings.calibration)
    if not root.is_dir():
        raise input_error(
            "calibration-folder-missing",
            f"{root} is a file" if root.is_file() else f"no folder {root}",
            "a folder of inputs (docs/data.md)",
            "--calibration FOLDER, with the files in it",
        )
    return root


def _read_dataset(settings: Settings, inputs: Inputs, progress: Progress) -> RawDataset:
    """Return the content of the data's folder, with classes as the checkpoint numbers them."""
    checkpoint, root, task = inputs.checkpoint, inputs.root, TASKS[inputs.task]
    if settings.calibration is None:
        dataset = read_data(root, task.name, progress, columns=settings.columns)
        own_head = has_own_head(checkpoint, task.name, len(dataset.labels), settings.adapt)
        return align_labels(dataset, checkpoint.labels if own_head else (), task, own_head)
    return replace(read_unlabelled(root, task, progress, settings.columns), labels=checkpoint.labels)


def _check_answers(settings: Settings, task: str) -> None:
    """Refuse a task whose inputs cannot be had without answers, training on such, and a head where there is none.

    Where the full model teaches, it trains on inputs without answers, too.
    """
    if TASKS[task].taught:
        if settings.adapt:
            raise usage_error(
                "task-without-head",
                f"--adapt for {task}: there is no head to train",
                "a task with classes, or the layers of an embedder that is trained already",
                "drop --adapt, or give --task",
            )
        return
    check_labels(settings)
    if settings.calibration is not None and not TASKS[task].unlabelled:
        raise usage_error(
            "task-needs-answers",
            f"--calibration for {task}",
            "a task whose inputs can be had without answers: a caption beside its image is the answer",
            "--data FOLDER in its place",
        )


def _check_merging_tokens(settings: Settings, checkpoint: Recognised, task: str, candidates: tuple[str, ...]) -> None:
    """Refuse to merge tokens where the family has no layers for it, or more of them than can be.

    Raises:
        UsageError: so it is.
    """
    if settings.merge_tokens is None:
        return
    share, family = parse_share(settings.merge_tokens), checkpoint.family
    check_merging(family, [name for name, other in FAMILIES.items() if other.merging])
    with sizes_that_fit(checkpoint):
        dims = checkpoint.format.read_dims(checkpoint.state, checkpoint.checkpoint.config, task)
    sizes = dims.model_copy(update={"image_size": settings.image_size or dims.image_size})
    side = sizes.image_size // sizes.patch
    beside = family.formula(sizes, task, (side, side)).places[family.merging].parallel if family.formula else 0
    if beside and (settings.adapt or sizes.parallel_width):
        raise usage_error(
            "merging-beside-adapters",
            f"--merge-tokens for a {family.name} with adapters beside its {family.merging} layers",
            "layers without such adapters: theirs would keep all tokens",
            "drop --merge-tokens" + ", or --adapt" * settings.adapt,
        )
    schedule_merging(family, sizes, task, candidates if settings.layers else (), share)


def _check_merging_maps(family: Family) -> None:
    """Refuse to merge into layers that end in a norm.

    Raises:
        UsageError: those of the family do.
    """
    if not family.absorber:
        takes = [name for name, other in FAMILIES.items() if other.absorber]
        raise usage_error(
            "layers-absorb-nothing",
            f"--replace {MERGED} for {family.name}, whose layers end in a norm: a map cannot be moved through it",
            f"a family whose norms come first: {', '.join(takes)}",
            "--replace adapter, or none with --recover full",
        )


def _candidates(settings: Settings, checkpoint: Recognised, task: str) -> tuple[str, ...]:
    """Return the layers that may be skipped: those named by hand, or the scope's; none where nothing is skipped."""
    if settings.choice is Choice.NOTHING:
        return ()
    family = checkpoint.family
    with sizes_that_fit(checkpoint):
        steps = steps_of(
            family.rounds(checkpoint.format.read_dims(checkpoint.state, checkpoint.checkpoint.config, task))
        )
    layers = family.layer_order(tuple(step.name for step in steps if step.pool))
    if settings.replace == MERGED:
        _check_merging_maps(family)
    if settings.layers:
        return match_layers(settings.layers, layers)
    scope = settings.scope or next(iter(family.scopes))
    pools = family.scopes.get(scope)
    in_pools = {step.name for step in steps if step.pool in (pools or ())}
    candidates = tuple(name for name in layers if name in in_pools) if pools else match_layers(scope.split(","), layers)
    if settings.skip is not None and settings.skip > len(candidates):
        sizes = {name: sum(step.pool in pools for step in steps) for name, pools in family.scopes.items()}
        wider = [name for name, size in sizes.items() if size > len(candidates)]
        raise UsageError(
            Problem(
                "skip-too-large",
                f"--skip {settings.skip} of {len(candidates)} layers in scope {scope} ({summarise(candidates)})",
                f"at most {len(candidates)}",
                " or ".join((f"--skip {max(1, len(candidates) // 2)}", *(f"--scope {name}" for name in wider))),
            )
        )
    if settings.balanced:
        pool_of = {step.name: str(step.pool) for step in steps}
        _check_balance(settings, Counter(pool_of[name] for name in candidates))
    return candidates


def _check_balance(settings: Settings, pools: Mapping[str, int]) -> None:
    """Refuse a lot that cannot take equally many layers of every pool, given the number of candidates in each."""
    skip, count, smallest = settings.skip or 0, len(pools), min(pools.values())
    told = ", ".join(f"{size} of {name}" for name, size in pools.items())
    if count == 1:
        found, expected, fix = f"--balanced with one pool alone: {told}", "layers of several pools", "drop --balanced"
    elif skip % count or skip > count * smallest:
        nearest = count * max(1, min(round(skip / count), smallest))
        found = f"--balanced --skip {skip}: the candidates are {told}"
        expected, fix = f"a multiple of {count}, at most {count * smallest}", f"--skip {nearest}, or drop --balanced"
    else:
        return
    raise usage_error("skip-not-balanced", found, expected, fix)
