"""Generated SNLI-VE, as its JSON lines and JPEG images: what follows from a scene, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import SIZE, draw, scene, seen, split_sizes, telling_apart

FILES = {"train": "train", "val": "dev", "test": "test"}
INVISIBLE = ("heavy", "wooden", "new")
EACH = 3  # hypotheses of each of two scenes that the other contradicts


def write_snli_ve(root: Path, images: int, seed: int) -> None:
    """Write ``snli_ve_{train,dev,test}.jsonl`` and ``flickr30k_images/``; same seed, same files.

    Every hypothesis is set beside two scenes. Of one of them it is wrong. From the other it follows, or, where it adds
    what no picture shows ("there is a heavy circle"), neither follows nor is wrong.
    """
    rng = np.random.default_rng((seed, 4))
    folder = root / "flickr30k_images"
    folder.mkdir(parents=True, exist_ok=True)
    for part, (split, count) in enumerate(split_sizes(images).items()):
        lines = []
        for couple in range((count + 1) // 2):
            scenes = [scene(rng), scene(rng)]
            facts = [seen(things) for things in scenes]
            said = [(what, bool(rng.random() < 0.5)) for what in telling_apart(facts[0], facts[1], EACH, rng)]
            hypotheses = [_hypothesis(what, visible, rng) for what, visible in said]
            for number, things in enumerate(scenes):
                name = f"{part + 1}{2 * couple + number:06d}"
                (folder / f"{name}.jpg").write_bytes(draw(things, SIZE, rng, "JPEG"))
                for (what, visible), hypothesis in zip(said, hypotheses, strict=True):
                    label = "contradiction" if what not in facts[number] else "entailment" if visible else "neutral"
                    lines.append({"Flickr30K_ID": name, "sentence2": hypothesis, "gold_label": label})
        (root / f"snli_ve_{FILES[split]}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _hypothesis(what: str, visible: bool, rng: np.random.Generator) -> str:
    if visible:
        return f"there is {what}"
    return f"there is {what.replace('a ', f'a {INVISIBLE[rng.integers(len(INVISIBLE))]} ', 1)}"
