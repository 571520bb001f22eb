"""Captions with their images as data for matching: each caption once more, with an image of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.data.types import Layout, RawDataset, Reading, Records, Sample
from compressor.errors import input_error

MATCHING_LABELS = ("no match", "match")


@dataclass(frozen=True)
class WithMismatches:
    """A layout of captions and their images, of which each caption makes two samples.

    Args:
        layout: the captions, each with its image.
    """

    layout: Layout

    @property
    def name(self) -> str:
        """That of the layout."""
        return self.layout.name

    @property
    def looks_for(self) -> str:
        """The files of the layout."""
        return self.layout.looks_for

    def recognises(self, root: Path) -> bool:
        """Return whether the layout does."""
        return self.layout.recognises(root)

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return each caption with its own image, and behind it the same with another of its split.

        The first captions of all images have that of the next image, the second ones that of the next but one: each
        image is as often the wrong one as it is the right one, where all have as many captions.

        Raises:
            InputError: as the layout, or a split has captions of one image alone.
        """
        found = self.layout.read(root, reading)
        splits = {name: replace(records, samples=_pair(records)) for name, records in found.splits.items()}
        note = "each caption is there twice: with its image, and with one of another caption, which is no match"
        return replace(found, splits=splits, labels=MATCHING_LABELS, notes=(*found.notes, note))


def _pair(records: Records) -> tuple[Sample, ...]:
    places = {image: place for place, image in enumerate(dict.fromkeys(s.images[0] for s in records.samples))}
    if len(places) == 1:
        raise input_error(
            "no-other-image",
            f"{records.files[0]} has captions of one image alone",
            "two images or more in a split: a caption that does not match needs another's",
            "add captions of other images, or give pairs with a label",
        )
    return tuple(_both(records.samples, places, list(places)))


def _both(samples: Sequence[Sample], places: dict, images: Sequence) -> Iterator[Sample]:
    captions = Counter[Any]()
    for sample in samples:
        (own,) = sample.images
        further = 1 + captions[own] % (len(images) - 1)
        captions[own] += 1
        other = images[(places[own] + further) % len(images)]
        yield replace(sample, labels=(1,), scores=(1.0,))
        yield replace(sample, images=(other,), labels=(0,), scores=(1.0,))
