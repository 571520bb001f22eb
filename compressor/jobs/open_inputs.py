"""What a compression is given, opened and checked as far as that is cheap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from compressor.checkpoints.find_tokenizer import FoundTokenizer, find_tokenizer
from compressor.checkpoints.recognise import Recognised, choose_task, recognise
from compressor.checkpoints.sizes import check_sizes, sizes_that_fit
from compressor.data.read_data import find_data, layouts_of
from compressor.device import choose_device
from compressor.distributed import world_size
from compressor.errors import Checks, input_error, usage_error
from compressor.evaluation.reference_run import open_reference_run
from compressor.families import FAMILIES, Family
from compressor.jobs.find_candidates import find_candidates
from compressor.saved_run.run_folder import Run
from compressor.search.option_rules import check_labels, check_options
from compressor.settings import Settings
from compressor.tasks import TASKS, check_task
from compressor.token_merging.merge_schedule import check_merging, parse_share, schedule_merging


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
            candidates = _ask_model(settings, checkpoint, task, checks)
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


def _ask_model(settings: Settings, checkpoint: Recognised, task: str, checks: Checks) -> tuple[str, ...]:
    """Return the layers that may be skipped; ``checks`` learns what the model or its task cannot do."""
    candidates = tuple[str, ...]()
    with checks:
        _check_answers(settings, checkpoint.family, task)
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
        candidates = find_candidates(settings, checkpoint, task)
        with checks:
            _check_merging_tokens(settings, checkpoint, task, candidates)
    return candidates


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


def _check_answers(settings: Settings, family: Family, task: str) -> None:
    """Refuse a task whose inputs cannot be had without answers, training on such, and a head where there is none.

    Where the full model teaches, it trains on inputs without answers, too.
    """
    if TASKS[task].taught:
        if settings.adapt:
            others = [f"--task {name}" for name in family.heads if name in TASKS and not TASKS[name].taught]
            raise usage_error(
                "task-without-head",
                f"{task} has no head to train",
                "a task with a head, which das compress --adapt and das tune train",
                " or ".join((*others[:1], "das compress without --adapt, for layers that are trained already")),
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
