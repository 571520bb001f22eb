"""Generated NLVR2, as its JSON lines and PNG images: statements about two scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import (
    COLOURS,
    SIZE,
    Thing,
    choose,
    draw_scene,
    list_attributes,
    render,
    split_sizes,
)

FILES = {"train": "train", "val": "dev", "test": "test1"}
EACH = 6  # statements of a pair
SAID = (  # of colours alone: shapes as well take a small model several times as long to learn
    *(f"the {side} image contains a {colour} thing" for side in ("left", "right") for colour in COLOURS),
    *(f"both images contain a {colour} thing" for colour in COLOURS),
)


def write_nlvr2(root: Path, images: int, seed: int) -> None:
    """Write ``{train,dev,test1}.json`` and ``images/`` with ``images`` pairs in training; same seed, same files."""
    rng = np.random.default_rng((seed, 2))
    for split, count in split_sizes(images).items():
        name, lines = FILES[split], []
        for number in range(count):
            pair = draw_scene(rng), draw_scene(rng)
            identifier, true = f"{name}-{number}", list_true_statements(*pair)
            folder = root / "images" / name / (str(number % 100) if split == "train" else "")
            folder.mkdir(parents=True, exist_ok=True)
            for side, things in enumerate(pair):
                (folder / f"{identifier}-0-img{side}.png").write_bytes(render(things, SIZE, rng))
            lines += [
                {"identifier": f"{identifier}-0-{n}", "sentence": statement, "label": str(statement in true)}
                for n, statement in enumerate(choose(SAID, EACH, rng))
            ]
        (root / f"{name}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def list_true_statements(left: list[Thing], right: list[Thing]) -> set[str]:
    """Return every statement that is true of two scenes."""
    sides = {"left": list_attributes(left), "right": list_attributes(right)}
    true = {f"the {side} image contains {attribute}" for side, there in sides.items() for attribute in there}
    return true | {f"both images contain {attribute}" for attribute in sides["left"] & sides["right"]}
