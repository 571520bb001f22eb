"""Generated visual question answering, as METER's tables: questions that need the image.

Every question is asked so that its answers are spread evenly: who only reads the question stays near the most frequent
answer of its kind.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compressor.data.arrow_files import write_table
from compressor.data.generated.scenes import (
    COLOURS,
    COLUMNS_OF_GRID,
    ROWS_OF_GRID,
    SHAPES,
    SIZE,
    Thing,
    draw_scene,
    render,
    split_sizes,
)

NUMBERS = ("zero", "one", "two", "three", "four")
ANSWERS = ("yes", "no", *COLOURS, *SHAPES, *COLUMNS_OF_GRID, *ROWS_OF_GRID, *NUMBERS)


def write_vqa(root: Path, images: int, seed: int) -> None:
    """Write ``vqav2_{train,val,test}.arrow`` with ``images`` rows in training; same seed, same files."""
    for number, (split, count) in enumerate(split_sizes(images).items()):
        write_scenes(root / f"vqav2_{split}.arrow", count, SIZE, 3 * seed + number)


def ask_questions(things: list[Thing], rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Return questions about a scene and their answers."""
    by_shape, by_colour = Counter(t.shape for t in things), Counter(t.colour for t in things)
    yield "how many things are there?", NUMBERS[len(things)]
    for thing in things:
        if by_shape[thing.shape] == 1:
            yield f"what color is the {thing.shape}?", thing.colour
        if by_colour[thing.colour] == 1:
            yield f"what shape is the {thing.colour} thing?", thing.shape
            yield f"is the {thing.colour} thing left, middle or right?", COLUMNS_OF_GRID[thing.column]
            yield f"is the {thing.colour} thing top, centre or bottom?", ROWS_OF_GRID[thing.row]
    shape, colour = SHAPES[rng.integers(len(SHAPES))], list(COLOURS)[rng.integers(len(COLOURS))]
    yield f"how many {shape}s are there?", NUMBERS[by_shape[shape]]
    if rng.random() < 0.5:  # as often yes as no
        sample = things[rng.integers(len(things))]
        yield f"is there a {sample.colour} {sample.shape}?", "yes"
    elif not any(t.shape == shape and t.colour == colour for t in things):
        yield f"is there a {colour} {shape}?", "no"
    if len(things) > 1:
        first, second = (things[i] for i in rng.permutation(len(things))[:2])
        if first.column != second.column and by_colour[first.colour] == by_colour[second.colour] == 1:
            answer = "yes" if first.column < second.column else "no"
            yield f"is the {first.colour} thing left of the {second.colour} thing?", answer


def write_scenes(path: Path, images: int, size: int, seed: int, per_image: int = 5) -> None:
    """Write a table of generated scenes in METER's VQA format.

    Args:
        path: ``vqav2_<split>.arrow``; the split's name is taken from it.
        images: rows.
        size: pixels of each square image.
        seed: same seed, same file.
        per_image: questions kept for each image.
    """
    rng, split = np.random.default_rng(seed), path.stem.removeprefix("vqav2_")
    columns: dict[str, list[object]] = defaultdict(list)
    for number in range(images):
        things = draw_scene(rng)
        questions = list(ask_questions(things, rng))
        selection = [questions[i] for i in rng.permutation(len(questions))[:per_image]]
        columns["image"].append(render(things, size, rng))
        columns["questions"].append([question for question, _ in selection])
        columns["answers"].append([[answer] for _, answer in selection])
        columns["answer_labels"].append([[ANSWERS.index(answer)] for _, answer in selection])
        columns["answer_scores"].append([[1.0] for _ in selection])
        columns["image_id"].append(number)
        columns["question_id"].append([number * 100 + i for i in range(len(selection))])
        columns["split"].append(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, dict(columns))
