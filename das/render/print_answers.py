"""Answers to questions on the terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from compressor.errors import Interrupted
from compressor.progress import Progress
from das.asked import Predicted
from das.terminal import console, print_json

SHOWN = 3  # numbers of a vector, which --json has whole
LABEL = 12  # characters of a class's name, and no fewer


def print_predictions(predictions: Iterator[Predicted], progress: Progress, json: bool) -> None:
    """Print each question with its answers as soon as it has them, with ``json`` as a JSON object in a line.

    Raises:
        Interrupted: by Ctrl-C; it says how many were printed.
    """
    count = 0
    answered = predictions if console.is_terminal else progress.track(predictions, "answering")
    try:
        for predicted in answered:
            print_json(predicted, indent=None) if json else print_answers(predicted)
            count += 1
    except KeyboardInterrupt as interrupt:
        hint = f"interrupted; {count:,} are answered"
        raise Interrupted(hint, getattr(interrupt, "number", signal.SIGINT)) from None


def print_answers(predicted: Predicted) -> None:
    """Draw the answers to one question, the best of them beside its texts."""
    width = max([LABEL, *(len(answer.answer) for answer in predicted.answers)])
    asked = "[cut] " * predicted.cut + "  |  ".join((*predicted.texts, *predicted.images))
    lines = [f"   -    {predicted.problem}"] if predicted.problem else []
    if predicted.vector:
        first = " ".join(f"{number:+.3f}" for number in predicted.vector[:SHOWN])
        more = f" ... ({len(predicted.vector)} numbers)" if len(predicted.vector) > SHOWN else ""
        lines.append(f"{first}{more}  {asked}")
    for answer in predicted.answers:
        value = f"{answer.score:+6.2f}" if answer.probability is None else f"{answer.probability:6.1%}"
        lines.append(f"{value}  {answer.answer:<{width}}  {'' if lines else asked}".rstrip())
    for line in lines:
        console.print(line, no_wrap=True, overflow="ellipsis")
