"""Generated classes of images, as folders: of which shape there is most in a scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import COLOURS, GRID, SHAPES, SIZE, Thing, render, split_sizes

MOST = 3  # of the shape that there is most of, and one less of each other


def write_pictures(root: Path, images: int, seed: int) -> None:
    """Write ``{train,val,test}/SHAPE/N.png`` with ``images`` pictures in training; same seed, same files."""
    for number, (split, count) in enumerate(split_sizes(images).items()):
        rng = np.random.default_rng(3 * seed + number)
        for shape in SHAPES:
            (root / split / shape).mkdir(parents=True, exist_ok=True)
        for picture in range(count):
            shape = SHAPES[rng.integers(len(SHAPES))]
            content = render(_draw(shape, rng), SIZE, rng)
            (root / split / shape / f"{picture}.png").write_bytes(content)


def _draw(most: str, rng: np.random.Generator) -> list[Thing]:
    """Return things of all shapes in different cells, of one shape more than of each other."""
    count = int(rng.integers(1, MOST + 1))
    shapes = [shape for shape in SHAPES for _ in range(count if shape == most else rng.integers(count))]
    cells, colours = rng.permutation(GRID * GRID), list(COLOURS)
    return [
        Thing(shape, colours[rng.integers(len(colours))], int(cell) % GRID, int(cell) // GRID)
        for shape, cell in zip(shapes, cells, strict=False)
    ]
