"""One sample, any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.data.base import Picture, Rows, Sample
from compressor.data.splits import Split
from compressor.errors import Problem, UsageError, input_error, usage_error
from compressor.runs import Run
from compressor.tasks import TASKS
from compressor.tasks.base import Task


def answers(run: Run, images: Sequence[Path], texts: Sequence[str], runtime: str, top: int) -> list[dict[str, Any]]:
    """The ``top`` most likely answers with their probabilities, as the task reads its logits.

    Retrieval has one answer with a score, which only compares with those of other captions and images.

    Args:
        run: whose slim model answers.
        images: as many as the task has.
        texts: a question, statement, caption or sentence; two for pairs of sentences.
        runtime: torch, onnx or trt.
        top: how many.

    Raises:
        UsageError: no such runtime, nothing to print, or other images or texts than the task has.
        InputError: no such image, or the run has not been exported to that runtime.
    """
    task = TASKS[run.manifest.task]
    _check(task, images, texts, top)
    pictures = tuple(Picture(str(image), image.read_bytes) for image in images)
    sample = Sample(texts[0], texts[1] if len(texts) == 2 else None, pictures)
    split = Split("asked", Rows((), (sample,)), run.transforms(), len(run.labels()), task.images)
    with _runner(run, runtime) as runner:
        logits = runner.run(split.inputs([0]))[0]
    labels = run.labels()
    if task.ranked:
        return [{"answer": labels[0], "score": float(logits[0])}]
    probabilities = task.probabilities(logits)
    best = probabilities.topk(min(top, len(labels)))
    return [
        {"answer": labels[int(number)], "probability": float(value)}
        for value, number in zip(best.values, best.indices, strict=True)
    ]


def _check(task: Task, images: Sequence[Path], texts: Sequence[str], top: int) -> None:
    problems = []
    if top < 1:
        problems.append(Problem(f"--top {top}", "at least 1 answer", "--top 3"))
    if len(images) != task.images:
        found = f"{len(images)} images for {task.name}"
        fix = " ".join(["--image FILE"] * task.images) or "leave --image out"
        problems.append(Problem(found, f"{task.images} image{'s' * (task.images != 1)}", fix))
    if any(not text.strip() for text in texts):
        problems.append(Problem("an empty text", f"one of the {task.samples} the model was trained on", '--text "..."'))
    if not texts or len(texts) > (1 if task.images else 2):
        problems.append(
            Problem(
                f"{len(texts)} texts for {task.name}",
                "one" if task.images else "one (two for pairs of sentences)",
                '--text "..."',
            )
        )
    if problems:
        raise UsageError(*problems)
    for image in images:
        if not image.is_file():
            raise input_error(f"no file {image}", "an image", "--image FILE")


def _runner(run: Run, runtime: str) -> Any:
    from exporters.runners import OnnxRunner, TensorRTRunner, TorchRunner

    exports = run.path / "exports"
    if runtime == "torch":
        return TorchRunner(run.load_slim(), "cpu")
    if runtime == "onnx":
        return OnnxRunner(_exported(exports, "*.onnx", "--onnx"))
    if runtime == "trt":
        return TensorRTRunner(_exported(exports, "*.plan", "--trt"))
    raise usage_error(f"--runtime {runtime}", "torch, onnx or trt", "--runtime torch")


def _exported(folder: Path, pattern: str, option: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.name.startswith("model."))
    if not found:
        raise input_error(f"no {pattern} in {folder}", "an exported model", f"das export {folder.parent} {option}")
    return found[0]
