"""One sample, or many questions on one image, in any runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.data.splits import Split
from compressor.data.types import ImageRef, Records, Sample
from compressor.errors import Checks, InputError, Problem, UsageError
from compressor.families import FAMILIES
from compressor.run_folder import Run, open_run
from compressor.tasks import TASKS
from compressor.tasks.task import Task
from das.results import Answer, Predicted
from exporters.runtimes import find_runtime
from exporters.runtimes.runtime import ModelSource

if TYPE_CHECKING:
    from exporters.graph.inputs import Fixed
    from exporters.runtimes.runner import Runner

TEXT = '--text "..."'


def answer_questions(
    folder: Path | None, images: Sequence[Path], texts: Sequence[str], runtime: str, top: int, precision: str = "fp32"
) -> Predicted:
    """Return for each question the ``top`` most likely answers with their probabilities, as the task reads its logits.

    Retrieval has one answer with a score, which only compares with those of other captions and images.

    Args:
        folder: of the run whose slim model answers, or None for runs/latest.
        images: as many as the task has.
        texts: questions, statements or captions on these images; without images one sentence, or a pair of two.
        runtime: name or alias of a runtime. ONNX Runtime runs the split export in fp32 where the run has one.
        top: how many.
        precision: of the exported model.

    Raises:
        UsageError: no such runtime or precision, nothing to print, or other images or texts than the task has; with
            everything else that is wrong but for the export.
        InputError: no such run or image, or the run has no export for that runtime in that precision that takes these
            texts.
        EnvironmentProblem: the runtime cannot run here.
    """
    from exporters.graph.inputs import as_the_graph_takes

    checks = Checks()
    with checks:
        _check_options(runtime, top, precision)
    with checks:
        _check_texts(texts)
    with checks:
        _check_images(images)
    with checks:
        run = open_run(folder)
        task = TASKS[run.manifest.task]
        _check_sample(task, images, texts)
    checks.raise_found()
    pictures = tuple(ImageRef(str(image), image.read_bytes) for image in images)
    questions = [(text,) for text in texts] if task.images else [tuple(texts)]
    samples = tuple(Sample(text, second[0] if second else None, pictures) for text, *second in questions)
    split = Split("asked", Records((), samples), run.transforms(), len(run.labels()), task.images)
    inputs = split.inputs(range(len(samples)), full_length=True)
    runner, fixed = choose_runner(run, runtime, precision, inputs)
    rows = as_the_graph_takes(FAMILIES[run.manifest.family], inputs, fixed)
    size = fixed.batch or len(samples)
    with runner:
        batches = (
            {name: x[start : start + size] for name, x in rows.items()} for start in range(0, len(samples), size)
        )
        logits = torch.cat([runner.run(batch) for batch in batches])
    answers = (
        answer
        for sample_texts, row in zip(questions, logits, strict=True)
        for answer in _best(sample_texts, run.labels(), task, row, top)
    )
    return Predicted(
        runtime=find_runtime(runtime).name, precision=precision, texts=tuple(texts), answers=tuple(answers)
    )


def _best(texts: tuple[str, ...], labels: Sequence[str], task: Task, logits: Tensor, top: int) -> list[Answer]:
    if task.ranked:
        return [Answer(texts=texts, answer=labels[0], score=float(logits[0]))]
    best = task.probabilities(logits).topk(min(top, len(labels)))
    return [
        Answer(texts=texts, answer=labels[int(number)], probability=float(value))
        for value, number in zip(best.values, best.indices, strict=True)
    ]


def _check_options(runtime: str, top: int, precision: str) -> None:
    """Refuse a runtime, a precision or a number of answers that cannot be."""
    from exporters.graph.precision import PRECISIONS

    problems = []
    try:
        executes_files = bool(find_runtime(runtime).suffix)
    except UsageError as error:
        executes_files, problems = True, list(error.problems)
    if precision not in PRECISIONS:
        problems.append(
            Problem(
                "unknown-precision", f"--precision {precision}", f"one of: {', '.join(PRECISIONS)}", "--precision fp32"
            )
        )
    elif not executes_files and precision != "fp32":
        found = f"--precision {precision} of the run's own weights, which are fp32"
        problems.append(
            Problem("precision-of-weights", found, "an exported model for other precisions", "--runtime onnxruntime")
        )
    if top < 1:
        problems.append(Problem("top-too-small", f"--top {top}", "at least 1 answer", "--top 3"))
    if problems:
        raise UsageError(*problems)


def _check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that no model reads."""
    problems = []
    if any(not text.strip() for text in texts):
        problems.append(Problem("text-empty", "an empty text", "a question, statement, caption or sentence", TEXT))
    if broken := [text for text in texts if text.encode(errors="ignore").decode() != text]:
        problems.append(Problem("text-not-utf8", f"--text {broken[0]!a}", "UTF-8 text", "type it in a UTF-8 terminal"))
    if problems:
        raise UsageError(*problems)


def _check_images(images: Sequence[Path]) -> None:
    """Refuse images that are not there."""
    if gone := [image for image in images if not image.is_file()]:
        raise InputError(*(Problem("image-missing", f"no file {image}", "an image", "--image FILE") for image in gone))


def _check_sample(task: Task, images: Sequence[Path], texts: Sequence[str]) -> None:
    """Refuse more or fewer images or texts than the task has."""
    problems = []
    if len(images) != task.images:
        found = f"{len(images)} images for {task.name}"
        fix = " ".join(["--image FILE"] * task.images) or "leave --image out"
        problems.append(Problem("wrong-number-of-images", found, f"{task.images} image{'s' * (task.images != 1)}", fix))
    if not texts or (not task.images and len(texts) > 2):
        expected = "one, or several on the same image" if task.images else "one (two for pairs of sentences)"
        problems.append(Problem("wrong-number-of-texts", f"{len(texts)} texts for {task.name}", expected, TEXT))
    if problems:
        raise UsageError(*problems)


def choose_runner(run: Run, runtime: str, precision: str, inputs: Mapping[str, Tensor]) -> tuple[Runner, Fixed]:
    """Return a runner of a run's slim model in ``runtime``, not open yet, and the sizes it is fixed to.

    An export that takes any size comes first; of those of one text length the shortest that holds every text of
    ``inputs``, (N, ...) by name. Of fixed batches only those of one sample are taken.

    Raises:
        InputError: the run has no export for that runtime in that precision that takes these texts.
        EnvironmentProblem: no TensorRT can be used here.
    """
    from exporters.folder import exports_of
    from exporters.graph.inputs import VARYING
    from exporters.graph.precision import PRECISIONS

    chosen = find_runtime(runtime)
    if not chosen.suffix:
        return chosen.open(ModelSource(run.load_slim), "cpu"), VARYING
    path, fixed = exports_of(run).best_for(chosen, PRECISIONS[precision], FAMILIES[run.manifest.family], inputs)
    return chosen.open(ModelSource(run.load_slim, path), chosen.devices[0]), fixed
