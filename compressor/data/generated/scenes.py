"""Scenes of coloured shapes on a grid, and their pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 50, 47), "green": (60, 170, 60), "blue": (50, 80, 220), "yellow": (235, 205, 40)}
SHAPES = ("circle", "square", "triangle")
COLUMNS_OF_GRID, ROWS_OF_GRID = ("left", "middle", "right"), ("top", "centre", "bottom")
GRID = 3
MOST_THINGS = 4
SIZE = 48  # pixels of a picture's side


@dataclass(frozen=True)
class Thing:
    """One drawn shape and its cell."""

    shape: str
    colour: str
    column: int
    row: int


def render(things: list[Thing], size: int, rng: np.random.Generator, encoding: str = "PNG") -> bytes:
    """Return the scene as a picture of ``size`` pixels; shapes fill most of their cell, with a little jitter."""
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
    image.save(buffer, encoding)
    return buffer.getvalue()


def draw_scene(rng: np.random.Generator) -> list[Thing]:
    """Return one to four things in different cells."""
    cells = rng.permutation(GRID * GRID)[: rng.integers(1, MOST_THINGS + 1)]
    colours, shapes = list(COLOURS), list(SHAPES)
    return [
        Thing(shapes[rng.integers(len(shapes))], colours[rng.integers(len(colours))], int(c) % GRID, int(c) // GRID)
        for c in cells
    ]


ATTRIBUTES = (*(f"a {colour} thing" for colour in COLOURS), *(f"a {shape}" for shape in SHAPES))
"""What may be said to be in a scene, one attribute at a time."""


def list_attributes(things: list[Thing]) -> set[str]:
    """Return those of ``ATTRIBUTES`` that a scene has. Of all scenes about half have any one of them."""
    return {f"a {thing.colour} thing" for thing in things} | {f"a {thing.shape}" for thing in things}


def choose(statements: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return ``count`` different ones of ``statements``."""
    return [statements[i] for i in rng.permutation(len(statements))[:count]]


def split_sizes(images: int) -> dict[str, int]:
    """Return the number of images of each split, for so many in training."""
    return {"train": images, "val": max(1, images // 5), "test": max(1, images * 3 // 10)}
