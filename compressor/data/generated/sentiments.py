"""Generated sentiment, as GLUE's SST-2: what is said of a film, turned round by "not" and "but"."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from compressor.data.generated.scenes import split_sizes

SUBJECTS = ("film", "plot", "acting", "story", "music", "ending", "dialogue", "cast")
GOOD = ("good", "great", "charming", "moving", "funny", "clever", "fresh", "warm", "lovely", "brilliant")
BAD = ("bad", "dull", "boring", "clumsy", "stale", "cold", "silly", "awful", "weak", "empty")
PLAIN, TURNED = ("", "very ", "really ", "always "), ("not ", "never ")


def write_sentences(root: Path, images: int, seed: int) -> None:
    """Write ``train.tsv`` and ``dev.tsv`` with ``images`` sentences in training; same seed, same files.

    GLUE's test labels are not public, so there is no test split; no sentence is in both splits.
    """
    rng = np.random.default_rng((seed, 5))
    sizes = split_sizes(images)
    counts = {"train.tsv": sizes["train"], "dev.tsv": sizes["val"]}
    labels: dict[str, int] = {}
    while len(labels) < sum(counts.values()):
        sentence, label = _sentence(rng)
        labels[sentence] = label
    rows = iter(labels.items())
    root.mkdir(parents=True, exist_ok=True)
    for name, count in counts.items():
        lines = [f"{sentence}\t{label}\n" for sentence, label in islice(rows, count)]
        (root / name).write_text("".join(["sentence\tlabel\n", *lines]))


def _sentence(rng: np.random.Generator) -> tuple[str, int]:
    """Return one clause, or two of which the second, after "but", decides; and its label, 1 = positive."""
    first, label = _clause(rng)
    if rng.random() < 0.5:
        return f"{first} .", label
    second, label = _clause(rng)
    return f"{first} , but {second} .", label


def _clause(rng: np.random.Generator) -> tuple[str, int]:
    positive, turned = bool(rng.integers(2)), bool(rng.random() < 0.3)
    word, before = _one(GOOD if positive else BAD, rng), _one(TURNED if turned else PLAIN, rng)
    return f"the {_one(SUBJECTS, rng)} is {before}{word}", int(positive != turned)


def _one(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[rng.integers(len(words))]
