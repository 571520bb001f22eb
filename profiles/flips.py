"""Which answers changed when the layers went."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Flip(BaseModel):
    """A sample that full and slim answer differently.

    ``outcome`` is "lost" where the full model was right, "gained" where the slim one is, "other" where neither was.
    ``image`` is a small JPEG as a data URI, None without an image.
    """

    model_config = ConfigDict(frozen=True)

    sample: int
    text: str
    expected: str
    full: str
    slim: str
    outcome: str
    answer_type: str
    question_type: str
    image: str | None = None


class FlipCount(BaseModel):
    """How many of some samples changed their answer, and how many of these for the worse and for the better."""

    model_config = ConfigDict(frozen=True)

    samples: int
    changed: int
    lost: int
    gained: int


class Flips(BaseModel):
    """All changes on the evaluation split: counted, by the type of answer and of question, and some of them shown."""

    model_config = ConfigDict(frozen=True)

    total: FlipCount
    by_answer_type: Mapping[str, FlipCount]
    by_question_type: Mapping[str, FlipCount]
    examples: tuple[Flip, ...]
