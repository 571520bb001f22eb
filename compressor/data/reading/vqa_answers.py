"""Answers of VQA: what counts as the same answer, which ones a model can give, and how right each of them is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from compressor.data.reading.rows import find_file
from compressor.data.reading.text_files import lines
from compressor.errors import input_error

ANSWERS_FILE = "answers.txt"
LEAST_COUNT = 9  # answers given less often are in no vocabulary (3,129 are left of VQA v2)
SOFT_SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)  # for 0, 1, 2, 3, and 4 or more annotators

ARTICLES = {"a", "an", "the"}
DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
MARKS = re.compile(r"[;/\[\]\"{}()=+\\_\-><@`,?!]")
COMMA_IN_NUMBER = re.compile(r"\d,\d")
PERIOD_BEFORE_NO_DIGIT = re.compile(r"\.(?!\d)")
CONTRACTIONS = re.findall(
    r"\S+",
    """
    ain't aren't can't couldn't couldn't've could've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll let's ma'am mightn't mightn't've might've mustn't
    must've needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
    you've
    """,
)


def _without_apostrophes(contraction: str) -> Iterable[str]:
    """Return the ways to write it that lack one apostrophe or all."""
    yield contraction.replace("'", "")
    if contraction.count("'") > 1:
        yield contraction.replace("'", "", 1)
        yield "".join(contraction.rsplit("'", 1))


WITH_APOSTROPHES = {short: full for full in CONTRACTIONS for short in _without_apostrophes(full)}


def normalise(answer: str) -> str:
    """Return an answer as VQA's evaluation compares it (the rule of visualqa.org/evaluation).

    Lower case; punctuation becomes a space, or nothing where it stands beside a space or a number has commas; periods
    stay in decimals only; number words up to ten become digits; articles go; contractions get their apostrophes.
    """
    numeric = COMMA_IN_NUMBER.search(answer) is not None

    def replacement(mark: re.Match[str]) -> str:
        return "" if numeric or f"{mark[0]} " in answer or f" {mark[0]}" in answer else " "

    plain = PERIOD_BEFORE_NO_DIGIT.sub("", MARKS.sub(replacement, answer)).lower()
    words = (DIGITS.get(word, word) for word in plain.split())
    return " ".join(WITH_APOSTROPHES.get(word, word) for word in words if word not in ARTICLES)


def frequent_answers(answers: Iterable[str]) -> tuple[str, ...]:
    """Return the normalised answers given at least 9 times, in first-seen order: METER's and ViLT's classes."""
    counts = Counter(map(normalise, answers))
    return tuple(answer for answer, count in counts.items() if count >= LEAST_COUNT)


def answer_classes(root: Path, answers: Iterable[str]) -> tuple[tuple[str, ...], bool]:
    """Return the classes of a data set that has no rule for them.

    Args:
        root: the folder of the data set.
        answers: that its questions have.

    Returns:
        The lines of answers.txt and False; else the answers in first-seen order and True: their numbers mean nothing
        outside the folder.
    """
    listed = listed_answers(root)
    names = listed or tuple(dict.fromkeys(answers))
    return names, bool(names) and not listed


def listed_answers(root: Path) -> tuple[str, ...]:
    """Return the lines of answers.txt, which are the classes in the order of the head; none without the file.

    An empty line is the empty answer, which is one of VQA v2's.

    Raises:
        InputError: an answer is there twice.
    """
    file = find_file(root, ANSWERS_FILE)
    listed = tuple(line.strip() for line in lines(file)) if file else ()
    if twice := [answer for answer, count in Counter(listed).items() if count > 1]:
        raise input_error(
            "answer-listed-twice",
            f"{file} has {twice[0]!r} {listed.count(twice[0])} times",
            "an answer in each line, in the order of the model's head",
            "write the list again from the model's answers",
        )
    return listed


def soft_answers(answers: Sequence[str], classes: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return labels and soft scores of what the annotators of one question gave, as they wrote it.

    Answers outside ``classes`` count for nothing, as in METER's and ViLT's converter.
    """
    counts = {answer: count for answer, count in Counter(answers).items() if answer in classes}
    scores = (SOFT_SCORES[min(count, len(SOFT_SCORES) - 1)] for count in counts.values())
    return tuple(classes[answer] for answer in counts), tuple(scores)
