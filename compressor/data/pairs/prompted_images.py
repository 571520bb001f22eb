"""Images with one class each, whose name in a sentence is the text that they are to find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.data.types import Layout, RawDataset, Reading, Records, Sample
from compressor.errors import input_error

FILE, PLACE = "templates.txt", "{}"
TEMPLATE = "a photo of a {}."  # of CLIP's paper, section 3.1.4


@dataclass(frozen=True)
class PromptedImages:
    """A layout of images with classes, and beside it ``templates.txt``: "a photo of a {}." or the like in each line.

    The templates are dealt to the images of a class in turn. Without the file there is the one of CLIP's paper.
    """

    images: Layout

    @property
    def name(self) -> str:
        """Name for messages and reports."""
        return self.images.name

    @property
    def looks_for(self) -> str:
        """The files that it is recognised by."""
        return self.images.looks_for

    def recognises(self, root: Path) -> bool:
        """Return whether the images and classes are there."""
        return self.images.recognises(root)

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return the images with their sentences.

        Raises:
            InputError: as the layout of the images, or templates without a place for the name.
        """
        dataset, templates = self.images.read(root, reading), read_templates(root / FILE)
        names = [label.replace("_", " ") for label in dataset.labels]
        splits = {split: _prompt(records, names, templates) for split, records in dataset.splits.items()}
        return replace(dataset, splits=splits)


def read_templates(path: Path) -> tuple[str, ...]:
    """Return the templates of a file, or the usual one where there is no file.

    Raises:
        InputError: it has none, or one without exactly one place for a name.
    """
    if not path.is_file():
        return (TEMPLATE,)
    lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    wrong = [line for line in lines if line.count(PLACE) != 1]
    if wrong or not lines:
        found = f"{path} has {wrong[0]!r}" if wrong else f"{path} is empty"
        raise input_error("template-without-place", found, f"one {PLACE} in each line, for the name", TEMPLATE)
    return lines


def _prompt(records: Records, names: Sequence[str], templates: Sequence[str]) -> Records:
    seen, samples = Counter[int](), list[Sample]()
    for sample in records.samples:
        (label,) = sample.labels
        template = templates[seen[label] % len(templates)]
        seen[label] += 1
        samples.append(replace(sample, text=template.replace(PLACE, names[label])))
    return replace(records, samples=tuple(samples))
