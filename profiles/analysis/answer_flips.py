"""Answers that changed when layers were skipped."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from compressor.errors import InputError
from compressor.evaluation.score import EveryAnswer
from compressor.evaluation.significance import mcnemar
from compressor.files import write_json
from compressor.saved_run.run_folder import Run
from compressor.values import Value
from profiles.comparison.full_vs_slim import NotMeasured
from profiles.formatting import Table

if TYPE_CHECKING:
    from PIL import Image

    from compressor.data.splits import Split
    from compressor.data.types import ImageRef, Sample
    from compressor.tasks.task import Task

LOST, GAINED, OTHER = "lost", "gained", "other"
YES_NO, NUMBER = "yes/no", "number"
FLIPS = "flips.json"  # in a run's folder, once they were counted
EXAMPLES = 12
RARE = 0.02  # of the samples: rarer types are counted together
SIDE, BYTES, QUALITIES = 96, 4096, (80, 60, 40, 20)  # of a thumbnail
LONGEST = 200  # characters of a text that are shown
CHANCE = 0.05


class Flip(Value):
    """A sample that full and slim answer differently.

    ``outcome`` is "lost" where only the full model was right, "gained" where only the slim one is, "other" where both
    are wrong, or, of a question with several right answers, right. ``image`` is a small JPEG as a data URI, None
    without an image; of several images they stand side by side. Texts are cut short and hold no control characters.
    """

    sample: int
    text: str
    expected: str
    full: str
    slim: str
    outcome: str
    answer_type: str
    question_type: str
    image: str | None = None


class FlipCount(Value):
    """Counts of samples whose answer changed, and of those that were lost and gained.

    ``both_right`` of them were right before and after: some questions have several right answers.
    """

    samples: int
    changed: int
    lost: int
    gained: int
    both_right: int = 0


class Flips(Value):
    """All changes on the evaluation split: counted, by the type of answer and of question, and some of them shown.

    ``p_value`` is McNemar's exact test of whether as many were lost as gained. ``note`` says why questions and examples
    are missing where they are.
    """

    total: FlipCount
    by_answer_type: Mapping[str, FlipCount]
    by_question_type: Mapping[str, FlipCount]
    examples: tuple[Flip, ...]
    p_value: float = 1.0
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Found:
    """Every sample, (n,) each: whether its answer changed, and whether full and slim were right."""

    changed: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def count(self, among: np.ndarray) -> FlipCount:
        """Count the samples that ``among`` is true for."""
        changed = self.changed & among
        return FlipCount(
            samples=int(among.sum()),
            changed=int(changed.sum()),
            lost=int((changed & self.before & ~self.after).sum()),
            gained=int((changed & ~self.before & self.after).sum()),
            both_right=int((changed & self.before & self.after).sum()),
        )

    def by_type(self, types: np.ndarray) -> dict[str, FlipCount]:
        """Return counts by type, where there are several: the most changed first, "other" last."""
        counts = {str(name): self.count(types == name) for name in np.unique(types)}
        order = sorted(counts, key=lambda name: (name == OTHER, -counts[name].changed, name))
        return {name: counts[name] for name in order} if len(counts) > 1 else {}

    def outcome(self, number: int) -> str:
        """Return the outcome of one sample's change."""
        if self.before[number] == self.after[number]:
            return OTHER
        return LOST if self.before[number] else GAINED


def recorded_flips(run: Run, evaluation: Split | None = None) -> Flips | NotMeasured:
    """Return the answers that changed, from the run's ``flips.json``; where that is not there yet, count and keep them.

    They are not kept while a ``note`` says that something is left out.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    path = run.path / FLIPS
    if path.exists():
        try:
            return Flips.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            pass  # counted again
    flips = flips_of(run, evaluation)
    if isinstance(flips, Flips) and not flips.note:
        write_json(path, flips.model_dump(mode="json"))
    return flips


def flips_of(run: Run, evaluation: Split | None = None) -> Flips | NotMeasured:
    """Count and show the answers that changed, from what the run kept and from its data.

    Where the data is gone or has changed, what needs it is left out, and ``note`` says so.

    Args:
        run: a finished run.
        evaluation: the split it was evaluated on; None opens it.
    """
    from compressor.tasks import TASKS

    kept, made = run.every_score(), run.manifest
    what = "answers that changed"
    if not made.labelled:
        return NotMeasured(what=what, why="no answers were given, so none is known to be right: --data FOLDER")
    if kept is None:
        return NotMeasured(what=what, why="--adapt without --reference: the full model had no trained head")
    if not isinstance(kept, EveryAnswer):
        return NotMeasured(what=what, why=f"{made.results.slim.metric} is of all {TASKS[made.task].samples} together")
    split, note = (evaluation, "") if evaluation else _opened(run, len(kept.expected))
    return describe(kept, split, TASKS[made.task], run.labels(), note)


def count_flips(kept: EveryAnswer) -> FlipCount:
    """Count the changed answers; neither data nor models are needed."""
    found = _found(kept)
    return found.count(np.ones_like(found.changed))


def _found(kept: EveryAnswer) -> _Found:
    return _Found(kept.full != kept.slim, kept.full_scores > 0, kept.slim_scores > 0)


def _opened(run: Run, samples: int) -> tuple[Split | None, str]:
    """Open the evaluation split of the answers, or return the reason that it is missing."""
    from compressor.evaluation.open_data import open_evaluation
    from compressor.evaluation.reference import same_data

    try:
        split = open_evaluation(run)
    except InputError as error:
        return None, f"the data is not at hand ({error.problems[0].found}): no types of questions, no examples"
    if len(split) != samples or not same_data(run, split):
        return None, "the data has changed since the run was made: no types of questions, no examples"
    return split, ""


def describe(kept: EveryAnswer, split: Split | None, task: Task, labels: Sequence[str], note: str = "") -> Flips:
    """Count and show what changed.

    Args:
        kept: answers to every sample of ``split``.
        split: None where the data is gone: what needs it is left out.
        task: says what kinds of answers there are.
        labels: name of each class.
        note: why something is left out.
    """
    found = _found(kept)

    def name(number: int) -> str:
        return f"image {number}" if task.ranked else plain(labels[number])

    answers = _answer_types(kept.expected, name, task)
    samples = split.samples if split is not None else ()
    if samples and task.open_vocabulary:
        annotated = np.array([sample.answer_type for sample in samples])
        answers = np.where(np.isin(annotated, (YES_NO, NUMBER, OTHER)), annotated, answers)
    questions = _without_rare(np.array([_question_type(sample, task) for sample in samples] or [""] * len(answers)))
    total = found.count(np.ones_like(found.changed))

    def shown(number: int) -> Flip:
        sample = samples[number]
        return Flip(
            sample=number,
            text=plain(sample.text if sample.second is None else f"{sample.text} / {sample.second}"),
            expected=name(int(kept.expected[number])),
            full=name(int(kept.full[number])),
            slim=name(int(kept.slim[number])),
            outcome=found.outcome(number),
            answer_type=str(answers[number]),
            question_type=str(questions[number]),
            image=thumbnail(sample.images),
        )

    return Flips(
        total=total,
        by_answer_type=found.by_type(answers),
        by_question_type=found.by_type(questions),
        examples=tuple(map(shown, _spread(found, questions))) if samples else (),
        p_value=mcnemar(total.lost, total.gained),
        note=note,
    )


def _answer_types(expected: np.ndarray, name: Callable[[int], str], task: Task) -> np.ndarray:
    """Return the type of each sample's right answer: VQA v2's, or the class itself; none for retrieval."""
    if task.ranked:
        return np.full(len(expected), "")
    numbers, places = np.unique(expected, return_inverse=True)
    kind = answer_type if task.open_vocabulary else str
    types = np.array([kind(name(int(number))) for number in numbers])[places]
    return types if task.open_vocabulary else _without_rare(types)


def answer_type(answer: str) -> str:
    """Return ``yes/no``, ``number`` or ``other``, as VQA v2 divides answers."""
    from compressor.data.reading.vqa_answers import normalise

    words = normalise(answer)
    if words in ("yes", "no"):
        return YES_NO
    return NUMBER if re.fullmatch(r"\d+([.,]\d+)?", words) else OTHER


def _question_type(sample: Sample, task: Task) -> str:
    """Return the type of a sample's question; none of statements and sentences, whose first words tell nothing."""
    if not task.open_vocabulary:
        return ""
    return question_type(sample.question_type, 4) or question_type(sample.text)


def question_type(text: str, words: int = 2) -> str:
    """Return the first words, in lower case: "how many"."""
    return " ".join(re.findall(r"[\w']+", text.lower())[:words])[:LONGEST]


def _without_rare(types: np.ndarray) -> np.ndarray:
    names, places, counts = np.unique(types, return_inverse=True, return_counts=True)
    frequent = (counts >= RARE * len(types)) & (names != "")
    return np.where(frequent, names, OTHER if frequent.any() else "")[places]


def _spread(found: _Found, types: np.ndarray) -> list[int]:
    """Select up to 12 samples whose answer changed: lost ones first, within an outcome the types in turn."""
    order, seen, ranked = (LOST, GAINED, OTHER), Counter[tuple[str, str]](), []
    for number in map(int, np.flatnonzero(found.changed)):
        outcome = found.outcome(number)
        kind = outcome, str(types[number])
        ranked.append((order.index(outcome), seen[kind], number))
        seen[kind] += 1
    return [number for _, _, number in sorted(ranked)[:EXAMPLES]]


def plain(text: str) -> str:
    """Return a text in one line of at most 200 characters, without control characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def thumbnail(pictures: Sequence[ImageRef]) -> str | None:
    """Return images side by side as a JPEG of at most 96 x 96 pixels in a data URI below 4 KB; None on failure."""
    from PIL import Image

    from compressor.data.images import decode_image

    try:
        images = [decode_image(picture.read(), picture.origin) for picture in pictures]
    except (OSError, InputError):
        return None
    if not images:
        return None
    for image in images:
        image.thumbnail((SIDE // len(images), SIDE))
    canvas = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)))
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width
    drawn = (_data_uri(canvas, quality) for quality in QUALITIES)
    return next((uri for uri in drawn if len(uri) < BYTES), None)


def _data_uri(image: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def flips_table(flips: Flips) -> Table:
    """Return changed, lost and gained answers: all, and by the types of answers and of questions."""
    rows = [_row("all", flips.total)]
    rows += [_row(f"  answer {name}", count) for name, count in flips.by_answer_type.items()]
    rows += [_row(f"  question {name}", count) for name, count in flips.by_question_type.items()]
    return Table("Answers that changed", ("", "n", "changed", "", "lost", "gained"), tuple(rows))


def _row(name: str, count: FlipCount) -> tuple[str, ...]:
    figures = f"{count.samples:,}", f"{count.changed:,}", f"{count.changed / count.samples:.1%}"
    # A bar would end the cell of a Markdown table.
    return name[:40].replace("|", "/"), *figures, f"{count.lost:,}", f"{count.gained:,}"


def flips_sentence(flips: Flips) -> str:
    """Describe all changes in words, and test whether more were lost than chance explains."""
    total = flips.total
    if not total.changed:
        return f"None of {total.samples:,} answers changed."
    wrong = total.changed - total.lost - total.gained - total.both_right
    parts = [f"{total.lost:,} lost", f"{total.gained:,} gained"]
    parts += [f"{wrong:,} wrong both times"] if wrong else []
    parts += [f"{total.both_right:,} right both times"] if total.both_right else []
    return f"{total.changed:,} of {total.samples:,} answers changed: {', '.join(parts)}; {_verdict(flips)}."


def _verdict(flips: Flips) -> str:
    test = f"p = {flips.p_value:.2g}, McNemar's exact test"
    if flips.p_value >= CHANCE:
        return f"losses and gains may be chance ({test})"
    more = "losses outweigh gains" if flips.total.lost > flips.total.gained else "gains outweigh losses"
    return f"{more} beyond chance ({test})"
