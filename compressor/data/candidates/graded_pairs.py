"""Files of pairs of a query and a passage with how relevant the passage is: 0 and 1, or grades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.data.candidates.candidate_split import leave_out_unranked
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.label_columns import NOT_PUBLIC, Classes
from compressor.data.layouts.split_files import SplitFiles
from compressor.data.reading.class_labels import is_given
from compressor.data.reading.row_source import RowSource
from compressor.data.reading.rows import NO_LABELS, Labels, Unreadable
from compressor.data.types import RawDataset, Reading

RELEVANCE = "relevance"  # what a single output says


@dataclass(frozen=True)
class GradedPairs(NamedColumns):
    """Files with named columns whose label is how relevant a passage is; pairs of a query may stand anywhere."""

    name: str = "queries and their candidate passages"

    def _read(self, found: Mapping[str, SplitFiles], root: Path, reading: Reading) -> RawDataset:
        dataset = super()._read(found, root, reading)
        return replace(dataset, splits={name: leave_out_unranked(records) for name, records in dataset.splits.items()})


def grades(train: RowSource, column: str, root: Path) -> Classes:
    """Return the one output that a cell is a grade of."""
    return Classes((RELEVANCE,), parse_grade)


def parse_grade(cell: Any) -> Labels:
    """Return the grade in a cell, 0 or more; none of it for -1, which says that there is none.

    Raises:
        Unreadable: it is no such number.
    """
    try:
        grade = float(cell) if is_given(cell) else math.nan
    except (TypeError, ValueError):
        grade = math.nan
    if grade == NOT_PUBLIC:
        return NO_LABELS
    if not math.isfinite(grade) or grade < 0:
        raise Unreadable(f"relevance {str(cell)[:40]!r} is no number from 0")
    return (0,), (grade,)
