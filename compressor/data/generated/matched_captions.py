"""Generated image-text matching, as CSV files and PNG images: what is in a scene, and what is not."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import ATTRIBUTES, SIZE, choose, draw_scene, list_attributes, render, split_sizes

COLUMNS = ("caption", "image", "label")
EACH = 4  # captions of a scene


def write_matches(root: Path, images: int, seed: int) -> None:
    """Write ``{train,val,test}.csv`` and ``images/``; same seed, same files."""
    rng = np.random.default_rng((seed, 7))
    (root / "images").mkdir(parents=True, exist_ok=True)
    for split, count in split_sizes(images).items():
        with (root / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for number in range(count):
                things = draw_scene(rng)
                name, true = f"images/{split}_{number}.png", list_attributes(things)
                (root / name).write_bytes(render(things, SIZE, rng))
                for attribute in choose(ATTRIBUTES, EACH, rng):
                    rows.writerow((f"there is {attribute}", name, "match" if attribute in true else "no match"))
