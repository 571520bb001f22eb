"""Generated captions, as Karpathy's JSON and PNG images: what is in a scene, in two orders."""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import COLOURS, GRID, MOST_THINGS, SHAPES, SIZE, Thing, render, split_sizes

KINDS = tuple(product(COLOURS, SHAPES))
SCENES = tuple(kinds for count in range(1, MOST_THINGS + 1) for kinds in combinations(KINDS, count))


def write_retrieval(root: Path, images: int, seed: int) -> None:
    """Write ``dataset.json`` and ``images/`` with ``images`` images in training; same seed, same files.

    Up to 793 images of a split, no two show the same things.
    """
    rng = np.random.default_rng((seed, 3))
    folder = root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, count in split_sizes(images).items():
        order = rng.permutation(len(SCENES))
        for number in range(count):
            kinds = SCENES[order[number % len(SCENES)]]
            cells = rng.permutation(GRID * GRID)
            things = [
                Thing(s, c, int(cell) % GRID, int(cell) // GRID) for (c, s), cell in zip(kinds, cells, strict=False)
            ]
            name = f"{split}_{number}.png"
            (folder / name).write_bytes(render(things, SIZE, rng))
            shuffled = [things[i] for i in rng.permutation(len(things))]
            captions = [_list_things(shuffled), f"there is {_list_things(shuffled[::-1])}"]
            rows.append({"filename": name, "split": split, "sentences": [{"raw": caption} for caption in captions]})
    (root / "dataset.json").write_text(json.dumps({"images": rows, "dataset": "scenes"}))


def _list_things(things: list[Thing]) -> str:
    return " and ".join(f"a {thing.colour} {thing.shape}" for thing in things)
