"""Pairs of texts with a score of how alike they are, one file for each split: STS (Agirre et al., 2012 to 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.label_columns import Classes
from compressor.data.layouts.split_files import SplitFiles
from compressor.data.reading.row_source import RowSource
from compressor.data.reading.rows import Labels, Unreadable
from compressor.data.texts.judgements import Similarities
from compressor.data.types import RawDataset, Reading, Records, Sample

SCORE = ("score", "similarity_score", "similarity", "label", "labels", "gold_score", "relatedness_score")


@dataclass(frozen=True)
class ScoredPairs(NamedColumns):
    """Files with named columns, whose label is a number: how alike two texts are."""

    name: str = "scored pairs of texts"

    def _read(self, found: Mapping[str, SplitFiles], root: Path, reading: Reading) -> RawDataset:
        dataset = super()._read(found, root, reading)
        return replace(dataset, splits={name: take_apart(records) for name, records in dataset.splits.items()})


def scores(train: RowSource, column: str, root: Path) -> Classes:
    """Return no classes: a cell is a number."""
    return Classes((), read_score)


def read_score(cell: Any) -> Labels:
    """Return the score in a cell, in its own units.

    Raises:
        Unreadable: it is no number.
    """
    try:
        score = float(cell)
    except (TypeError, ValueError):
        raise Unreadable(f"score {str(cell)[:40]!r} is no number") from None
    if not math.isfinite(score):
        raise Unreadable(f"score {cell} is no number")
    return (0,), (score,)


def take_apart(records: Records) -> Records:
    """Return the texts of pairs as samples, each text once; the pairs' scores become judgements where they have any."""
    numbers: dict[str, int] = {}
    for sample in records.samples:
        for text in (sample.text, sample.second):
            if text is not None:
                numbers.setdefault(text, len(numbers))
    scored = [sample for sample in records.samples if sample.second is not None and sample.scores]
    pairs = tuple((numbers[sample.text], numbers[str(sample.second)]) for sample in scored)
    judgements = Similarities(pairs, tuple(sample.scores[0] for sample in scored)) if scored else None
    return replace(records, samples=tuple(map(Sample, numbers)), judgements=judgements)
