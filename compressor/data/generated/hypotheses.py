"""Generated SNLI-VE, as its JSON lines and JPEG images: what follows from a scene, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import ATTRIBUTES, SIZE, choose, draw_scene, list_attributes, render, split_sizes

FILES = {"train": "train", "val": "dev", "test": "test"}
INVISIBLE = ("heavy", "wooden", "new")
EACH = 4  # hypotheses of a scene


def write_snli_ve(root: Path, images: int, seed: int) -> None:
    """Write ``snli_ve_{train,dev,test}.jsonl`` and ``flickr30k_images/``; same seed, same files.

    A hypothesis follows from a scene, or is wrong of it, or, where it adds to something right what no picture shows
    ("there is a heavy circle"), is neither.
    """
    rng = np.random.default_rng((seed, 4))
    folder = root / "flickr30k_images"
    folder.mkdir(parents=True, exist_ok=True)
    for part, (split, count) in enumerate(split_sizes(images).items()):
        lines = []
        for number in range(count):
            things = draw_scene(rng)
            name, true = f"{part + 1}{number:06d}", list_attributes(things)
            (folder / f"{name}.jpg").write_bytes(render(things, SIZE, rng, "JPEG"))
            for attribute in choose(ATTRIBUTES, EACH, rng):
                visible = bool(rng.random() < 0.5)
                label = "contradiction" if attribute not in true else "entailment" if visible else "neutral"
                hypothesis = _hypothesis(attribute, visible, rng)
                lines.append({"Flickr30K_ID": name, "sentence2": hypothesis, "gold_label": label})
        (root / f"snli_ve_{FILES[split]}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _hypothesis(attribute: str, visible: bool, rng: np.random.Generator) -> str:
    if visible:
        return f"there is {attribute}"
    return f"there is {attribute.replace('a ', f'a {INVISIBLE[rng.integers(len(INVISIBLE))]} ', 1)}"
