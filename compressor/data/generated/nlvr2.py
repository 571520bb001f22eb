"""Generated NLVR2, as its JSON lines and PNG images: statements about two scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import SIZE, Thing, draw, scene, seen, split_sizes, telling_apart

FILES = {"train": "train", "val": "dev", "test": "test1"}
EACH = 3  # statements of each of two pairs that the other does not bear out


def write_nlvr2(root: Path, images: int, seed: int) -> None:
    """Write ``{train,dev,test1}.json`` and ``images/`` with ``images`` pairs in training; same seed, same files.

    Every statement is made of two pairs of scenes, of one of which it is true.
    """
    rng = np.random.default_rng((seed, 2))
    for split, count in split_sizes(images).items():
        name, lines = FILES[split], []
        for couple in range((count + 1) // 2):
            pairs = [(scene(rng), scene(rng)) for _ in range(2)]
            facts = [statements(*pair) for pair in pairs]
            said = telling_apart(facts[0], facts[1], EACH, rng)
            for number, pair in enumerate(pairs):
                identifier = f"{name}-{couple}-{number}"
                folder = root / "images" / name / (str(couple % 100) if split == "train" else "")
                folder.mkdir(parents=True, exist_ok=True)
                for side, things in enumerate(pair):
                    (folder / f"{identifier}-img{side}.png").write_bytes(draw(things, SIZE, rng))
                lines += [
                    {"identifier": f"{identifier}-{n}", "sentence": statement, "label": str(statement in facts[number])}
                    for n, statement in enumerate(said)
                ]
        (root / f"{name}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def statements(left: list[Thing], right: list[Thing]) -> set[str]:
    """Everything a statement says that is true of two scenes."""
    sides = {"left": seen(left), "right": seen(right)}
    true = {f"the {side} image contains {what}" for side, there in sides.items() for what in there}
    true |= {f"both images contain {what}" for what in sides["left"] & sides["right"]}
    if len(left) != len(right):
        true.add(f"there are more things in the {'left' if len(left) > len(right) else 'right'} image")
    return true
