"""Generated visual question answering: shapes on a grid, questions that need the image.

Every question is asked so that its answers are spread evenly: who only reads the question stays near the
most frequent answer of its kind (``compressor.data.vqa.question_only_floor``).
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from compressor.data.tables import write_table

COLOURS = {"red": (220, 50, 47), "green": (60, 170, 60), "blue": (50, 80, 220), "yellow": (235, 205, 40)}
SHAPES = ("circle", "square", "triangle")
COLUMNS_OF_GRID, ROWS_OF_GRID = ("left", "middle", "right"), ("top", "centre", "bottom")
NUMBERS = ("zero", "one", "two", "three", "four")
ANSWERS = ("yes", "no", *COLOURS, *SHAPES, *COLUMNS_OF_GRID, *ROWS_OF_GRID, *NUMBERS)
GRID = 3


@dataclass(frozen=True)
class Thing:
    """One drawn shape and its cell."""

    shape: str
    colour: str
    column: int
    row: int


def draw(things: list[Thing], size: int, rng: np.random.Generator) -> bytes:
    """The scene as a PNG of ``size`` pixels; shapes fill most of their cell, with a little jitter."""
    image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(225, 256, 3)))
    canvas, cell = ImageDraw.Draw(image), size / GRID
    for thing in things:
        radius = cell * rng.uniform(0.34, 0.46)
        x = (thing.column + 0.5) * cell + rng.uniform(-0.04, 0.04) * cell
        y = (thing.row + 0.5) * cell + rng.uniform(-0.04, 0.04) * cell
        box, colour = (x - radius, y - radius, x + radius, y + radius), COLOURS[thing.colour]
        if thing.shape == "circle":
            canvas.ellipse(box, fill=colour)
        elif thing.shape == "square":
            canvas.rectangle(box, fill=colour)
        else:
            canvas.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def scene(rng: np.random.Generator) -> list[Thing]:
    """One to four things in different cells."""
    cells = rng.permutation(GRID * GRID)[: rng.integers(1, 5)]
    colours, shapes = list(COLOURS), list(SHAPES)
    return [
        Thing(shapes[rng.integers(len(shapes))], colours[rng.integers(len(colours))], int(c) % GRID, int(c) // GRID)
        for c in cells
    ]


def questions(things: list[Thing], rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Questions about a scene and their answers."""
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
        seen = things[rng.integers(len(things))]
        yield f"is there a {seen.colour} {seen.shape}?", "yes"
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
        things = scene(rng)
        asked = list(questions(things, rng))
        kept = [asked[i] for i in rng.permutation(len(asked))[:per_image]]
        columns["image"].append(draw(things, size, rng))
        columns["questions"].append([question for question, _ in kept])
        columns["answers"].append([[answer] for _, answer in kept])
        columns["answer_labels"].append([[ANSWERS.index(answer)] for _, answer in kept])
        columns["answer_scores"].append([[1.0] for _ in kept])
        columns["image_id"].append(number)
        columns["question_id"].append([number * 100 + i for i in range(len(kept))])
        columns["split"].append(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, dict(columns))


def write_example(path: Path, seed: int, size: int = 192) -> None:
    """One scene as a picture, to ask questions about."""
    rng = np.random.default_rng((seed, size))
    path.write_bytes(draw(scene(rng), size, rng))


def word_tokenizer(texts: list[str]) -> Tokenizer:
    """A tokenizer of whole words with RoBERTa's special tokens and their ids: <s> 0, <pad> 1, </s> 2, <unk> 3."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    normalise, split = normalizers.Lowercase(), pre_tokenizers.Split(Regex(r"\s+|(?=[?,.!])"), "removed")
    words = sorted({w for t in texts for w, _ in split.pre_tokenize_str(normalise.normalize_str(t)) if w})
    vocabulary = {word: number for number, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalise, split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer
