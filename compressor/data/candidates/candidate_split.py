"""Splits of pairs of a query and a passage; the passages of a query are ranked against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import TrainingOrder
from compressor.data.splits import Split, UnlabelledSplit
from compressor.data.types import Records, Transforms
from compressor.errors import input_error


class CandidateSplit(UnlabelledSplit):
    """Pairs, those of a query side by side.

    ``targets`` are (B, 2): how relevant a passage is, 0 where it is not, and the number of its query. Without labels
    the first is what the full model says of the pair.

    Raises:
        InputError: no query has several passages.
    """

    left_out = "of queries without a relevant passage, or without an irrelevant one"
    by_text = True

    def __init__(self, name: str, records: Records, transforms: Transforms, classes: int, images: int) -> None:
        texts = dict.fromkeys(sample.text for sample in records.samples)
        self._numbers = {text: number for number, text in enumerate(texts)}
        in_lists = sorted(records.samples, key=lambda sample: self._numbers[sample.text])
        super().__init__(name, replace(records, samples=tuple(in_lists)), transforms, classes, images)
        if 0 < len(in_lists) == len(texts):
            raise input_error(
                "passages-alone",
                f"each of the {len(texts)} queries of {name} has a single passage",
                "several passages of a query, which are ranked",
                "give the candidate passages of each query, one in each row",
            )

    @property
    def groups(self) -> np.ndarray:
        """The number of each pair's query, (n,); queries of equal text are one."""
        return np.array([self._numbers[sample.text] for sample in self.samples], dtype=np.int64)

    def training_order(self, size: int, seed: int) -> TrainingOrder:
        """Return the samples of every step; pairs of a query share their batches as far as these have room."""
        return TrainingOrder(self.lengths, size, seed, self.groups)

    def describe(self) -> dict[str, Any]:
        """Says whose the answers are only where the data has none."""
        return Split.describe(self) if any(sample.labels for sample in self.samples) else super().describe()

    @property
    def judged(self) -> bool:
        """Whether people said what is relevant; else the full model did."""
        return self._targets is None

    @property
    def lengths(self) -> np.ndarray:
        """For each pair the tokens of the longest pair of its query, (n,): batches by length keep a query together."""
        queries, longest = self.groups, np.zeros(len(self._numbers), dtype=int)
        np.maximum.at(longest, queries, super().lengths)
        return longest[queries]

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return relevance and query of these pairs, (B, 2)."""
        samples = [self.samples[int(index)] for index in indices]
        if self._targets is None:
            grades = torch.tensor([sum(sample.scores) for sample in samples], dtype=torch.float32)
        else:
            grades = super().targets(indices)[:, 0]
        return torch.stack([grades, torch.tensor([self._numbers[sample.text] for sample in samples])], 1)

    def draw(self, most: int, seed: int) -> Split:
        """Draw whole queries that have at most so many pairs together; one query at least."""
        names, places, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(names))
        drawn = order[: max(1, int((np.cumsum(counts[order]) <= most).sum()))]
        return self.subset(np.flatnonzero(np.isin(places, drawn)))


def leave_out_unranked(records: Records) -> Records:
    """Return the pairs of queries that have a relevant and an irrelevant passage; the others are counted.

    These rank alike whatever a model says. Pairs without labels all stay.
    """
    lists: defaultdict[str, set[bool]] = defaultdict(set)
    for sample in records.samples:
        lists[sample.text].update(score > 0 for score in sample.scores)
    kept = tuple(sample for sample in records.samples if len(lists[sample.text]) == 2 or not sample.labels)
    return replace(records, samples=kept, dropped=records.dropped + len(records.samples) - len(kept))
