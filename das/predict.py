"""Answers of a run's model, in any runtime, to any number of questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.data.reading.rows import Placed, Unreadable
from compressor.data.splits import Split
from compressor.data.text import TextTransform
from compressor.data.types import Records, Sample
from compressor.errors import Checks, EnvironmentProblem, Problem, UsageError, input_error, shorten
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import Run, open_run
from compressor.tasks import TASKS
from compressor.tasks.task import Task
from compressor.tasks.texts.token_classification import entities_in
from das.asked import Answer, Predicted, Questions
from exporters.runtimes import find_runtime
from exporters.runtimes.runtime import ModelSource

if TYPE_CHECKING:
    from exporters.graph.inputs import Fixed
    from exporters.runtimes.runner import Runner

WEIGHTS, GRAPH = "torch", "onnxruntime"  # the runtimes that answer where none is asked for
NAMED = 3  # of the questions without an answer


def answer_questions(
    folder: Path | None,
    questions: Questions,
    runtime: str | None = None,
    top: int = 3,
    precision: str | None = None,
    batch_size: int = 32,
    progress: Progress = QUIET,
) -> Iterator[Predicted]:
    """Check everything at once, then yield each question with its ``top`` most likely answers, in order.

    Answers have the probabilities that the task reads in the logits. Retrieval has one answer with a score, which only
    compares with those of other captions and images, of two towers a cosine; an embedder of texts has a vector in the
    place of answers. No more than a batch is held in memory.

    Args:
        folder: of the run whose slim model answers, or None for runs/latest.
        questions: what is asked.
        runtime: name or alias of a runtime; None as :func:`choose_way`. ONNX Runtime runs the split export in fp32
            where the run has one.
        top: how many answers.
        precision: of the exported model; None is fp32 where a runtime is named.
        batch_size: questions that are answered in one call.
        progress: told what answers, and of texts that were cut.

    Raises:
        UsageError: no such runtime or precision, nothing to print, or other images or texts than the task has; with
            everything else that is wrong but for the export.
        InputError: no such run, image or file, or the run has no export for that runtime in that precision that takes
            these texts. At the end, where some questions could not be read.
        EnvironmentProblem: the runtime cannot run here.
    """
    checks = Checks()
    with checks:
        _check_options(runtime or WEIGHTS, top, precision or "fp32", batch_size)
    with checks:
        questions.check()
    with checks:
        questions.check_files()
    with checks:
        run = open_run(folder)
        task, told = TASKS[run.manifest.task], run.manifest.pairs
        paired = bool(questions.pairs) if told is None else told  # of older runs, which do not say
        questions.check_against(task, paired)
    checks.raise_found()
    asked = questions.open(task, paired, run.manifest.settings.columns)
    name, of = (runtime, precision or "fp32") if runtime else choose_way(run, precision)
    return _answer(run, asked, name, of, top, batch_size, progress)


def _answer(
    run: Run, asked: Placed, runtime: str, precision: str, top: int, size: int, progress: Progress
) -> Iterator[Predicted]:
    task, labels, transforms = TASKS[run.manifest.task], run.labels(), run.transforms()
    chosen = find_runtime(runtime)
    progress.say(f"answered by {chosen.title} in {precision}")
    empty = Predicted(runtime=chosen.name, precision=precision)
    unanswered, cut, total, waiting = [], 0, 0, iter(asked)
    with ExitStack() as stack:
        runners: dict[Fixed, Runner] = {}
        while group := list(islice(waiting, size)):
            samples = tuple(sample for _, sample in group if isinstance(sample, Sample))
            kind = task.split if task.output == "embedding" else Split  # a text may have a prompt in front of it
            split = kind("asked", Records((), samples), transforms, len(labels), task.images)
            answered = iter(_predict(run, split, runtime, precision, runners, stack, progress) if samples else ())
            for place, sample in group:
                total += 1
                if isinstance(sample, Unreadable):
                    unanswered.append(f"{place}: {sample}")
                    yield empty.model_copy(update={"problem": unanswered[-1]})
                    continue
                logits, is_cut = next(answered)
                cut += is_cut
                texts = (sample.text, *([] if sample.second is None else [sample.second])) if task.texts else ()
                images = tuple(image.name for image in sample.images)
                if task.output == "embedding" and task.images:
                    answer: dict[str, object] = {"answers": (_score("cosine", task, logits),)}
                elif task.output == "embedding":
                    answer = {"vector": tuple(logits.float().tolist())}
                elif task.output == "tags":
                    answer = {"answers": tuple(find_entities(sample.text, transforms.text, logits, labels))}
                else:
                    answer = {"answers": _best(labels, task, logits, top)}
                yield empty.model_copy(update={"texts": texts, "images": images, "cut": is_cut, **answer})
    if cut:
        read = f"the {transforms.text.length} tokens that the model reads"
        progress.say(f"note: {cut} of {total} {task.samples} are longer than {read}: the rest was cut")
    if unanswered:
        raise input_error(
            "questions-unreadable",
            f"{len(unanswered)} of {total} {task.samples} have no answer: {shorten(unanswered, NAMED, '; ')}",
            "a text, or the columns of one, in each line",
            "repair or remove these lines; all others are answered",
        )


def _predict(
    run: Run,
    split: Split,
    runtime: str,
    precision: str,
    runners: dict[Fixed, Runner],
    stack: ExitStack,
    progress: Progress,
) -> Iterator[tuple[Tensor, bool]]:
    """Yield logits (classes,) of each sample, and whether its texts were cut; ``runners`` holds the open ones."""
    from exporters.graph.inputs import as_the_graph_takes

    inputs = split.inputs(range(len(split)), full_length=True)
    runner, fixed = choose_runner(run, runtime, precision, inputs)
    if fixed not in runners:
        with progress.stage("Loading the model"):
            runners[fixed] = stack.enter_context(runner)
    rows = as_the_graph_takes(FAMILIES[run.manifest.family], inputs, fixed)
    size = fixed.batch or len(split)
    batches = ({name: x[start : start + size] for name, x in rows.items()} for start in range(0, len(split), size))
    logits = torch.cat([runners[fixed].run(batch) for batch in batches])
    texts = [split.text_of(sample) for sample in split.samples]
    return zip(logits, split.transforms.text.cuts(texts), strict=True)


def find_entities(text: str, transform: TextTransform, logits: Tensor, labels: Sequence[str]) -> Iterator[Answer]:
    """Yield the entities of a text, ``PER: Ada Lovelace``, with the least probability of their words' tags.

    Args:
        text: words, which blanks divide.
        transform: of the model.
        logits: (L, classes).
        labels: names of the tags.

    Raises:
        EnvironmentProblem: seqeval is not installed.
    """
    words, (firsts,) = text.split(), transform.first_tokens([text])
    there = [number for number, first in enumerate(firsts) if first >= 0]
    shares, tags = logits[torch.from_numpy(firsts[there])].softmax(-1).max(-1)
    for kind, start, end in entities_in([labels[tag] for tag in tags.tolist()]):
        said = " ".join(words[number] for number in there[start : end + 1])
        yield Answer(answer=f"{kind}: {said}", probability=float(shares[start : end + 1].min()))


def _best(labels: Sequence[str], task: Task, logits: Tensor, top: int) -> tuple[Answer, ...]:
    if task.output == "score":
        return (_score(labels[-1], task, logits),)
    best = task.probabilities(logits).topk(min(top, len(labels)))
    return tuple(
        Answer(answer=labels[int(number)], probability=float(value))
        for value, number in zip(best.values, best.indices, strict=True)
    )


def _score(name: str, task: Task, logits: Tensor) -> Answer:
    return Answer(answer=name, score=float(task.probabilities(logits[None])))


def _check_options(runtime: str, top: int, precision: str, batch_size: int) -> None:
    """Refuse a runtime, a precision or a number that cannot be."""
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
    if batch_size < 1:
        found = f"--batch-size {batch_size}"
        problems.append(Problem("batch-size-too-small", found, "at least 1 question", "--batch-size 32"))
    if problems:
        raise UsageError(*problems)


def choose_way(run: Run, precision: str | None = None) -> tuple[str, str]:
    """Return the runtime and the precision that answer where no runtime is named, and no other precision.

    What ``das export`` found to be the best comes first, then ONNX Runtime, which starts in half the time, in fp32;
    each where its runtime is here and the run has a certified export for it. Else PyTorch: an export that takes some
    sizes only, or was not compared on real samples, is used when asked for.
    """
    from exporters.folder import exports_of
    from exporters.graph.precision import PRECISIONS
    from profiles.deployment.best import read_best

    exports = exports_of(run)
    best = read_best(exports.path)
    ways = [(best.kept.runtime, best.kept.precision)] if best else []
    for name, of in (*ways, (GRAPH, "fp32")):
        runtime = find_runtime(name)
        if precision in (None, of) and exports.is_certified(runtime, PRECISIONS[of]):
            with suppress(EnvironmentProblem):
                runtime.check(runtime.devices[0])
                if not runtime.refuses(PRECISIONS[of], runtime.devices[0]):  # made on another machine
                    return name, of
    return WEIGHTS, "fp32"


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
