"""One sample, or many questions on one image, in any runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.data.splits import Split
from compressor.data.types import ImageRef, Records, Sample
from compressor.errors import Problem, UsageError, input_error
from compressor.families import FAMILIES
from compressor.run_folder import Run
from compressor.tasks import TASKS
from compressor.tasks.task import Task
from das.results import Answer, Predicted
from exporters.runtimes import find_runtime
from exporters.runtimes.runtime import ModelSource

if TYPE_CHECKING:
    from exporters.graph.inputs import Fixed
    from exporters.runtimes.runner import Runner


def answer_questions(
    run: Run, images: Sequence[Path], texts: Sequence[str], runtime: str, top: int, precision: str = "fp32"
) -> Predicted:
    """Return for each question the ``top`` most likely answers with their probabilities, as the task reads its logits.

    Retrieval has one answer with a score, which only compares with those of other captions and images.

    Args:
        run: whose slim model answers.
        images: as many as the task has.
        texts: questions, statements or captions on these images; without images one sentence, or a pair of two.
        runtime: name or alias of a runtime. ONNX Runtime runs the split export in fp32 where the run has one.
        top: how many.
        precision: of the exported model.

    Raises:
        UsageError: no such runtime or precision, nothing to print, or other images or texts than the task has.
        InputError: no such image, or the run has no export for that runtime in that precision that takes these texts.
        EnvironmentProblem: the runtime cannot run here.
    """
    from exporters.graph.inputs import with_text_length

    task = TASKS[run.manifest.task]
    _check(task, images, texts, runtime, top, precision)
    pictures = tuple(ImageRef(str(image), image.read_bytes) for image in images)
    questions = [(text,) for text in texts] if task.images else [tuple(texts)]
    samples = tuple(Sample(text, second[0] if second else None, pictures) for text, *second in questions)
    split = Split("asked", Records((), samples), run.transforms(), len(run.labels()), task.images)
    inputs = split.inputs(range(len(samples)))
    runner, fixed = choose_runner(run, runtime, precision, inputs)
    rows = with_text_length(FAMILIES[run.manifest.family], inputs, fixed.text_length)
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


def _check(task: Task, images: Sequence[Path], texts: Sequence[str], runtime: str, top: int, precision: str) -> None:
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
    if len(images) != task.images:
        found = f"{len(images)} images for {task.name}"
        fix = " ".join(["--image FILE"] * task.images) or "leave --image out"
        problems.append(Problem("wrong-number-of-images", found, f"{task.images} image{'s' * (task.images != 1)}", fix))
    if any(not text.strip() for text in texts):
        problems.append(
            Problem(
                "text-empty", "an empty text", f"one of the {task.samples} the model was trained on", '--text "..."'
            )
        )
    if broken := [text for text in texts if text.encode(errors="ignore").decode() != text]:
        problems.append(Problem("text-not-utf8", f"--text {broken[0]!a}", "UTF-8 text", "type it in a UTF-8 terminal"))
    if not texts or (not task.images and len(texts) > 2):
        expected = "one, or several on the same image" if task.images else "one (two for pairs of sentences)"
        problems.append(
            Problem("wrong-number-of-texts", f"{len(texts)} texts for {task.name}", expected, '--text "..."')
        )
    if problems:
        raise UsageError(*problems)
    for image in images:
        if not image.is_file():
            raise input_error("image-missing", f"no file {image}", "an image", "--image FILE")


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
