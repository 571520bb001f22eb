"""The search loop of the paper's public code to the letter, as a variant of das's own strategy ``das``.

``das`` differs from it in three points: each update has held-out samples of its own, where the public code rewards the
whole search on one batch; on little data the gates move more often than every 10 steps; and dropout, where the model
has any, is off. (The public code takes its one batch from the training data for most tasks; here it is held out, as for
every strategy.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from compressor.jobs.job import Job
from compressor.progress import Progress, Stages
from compressor.saved_run.resume import RunCheckpoint, Stage
from compressor.search.result import SearchResult
from compressor.search.select_layers import UPDATE_EVERY, select_layers
from compressor.search.strategies import STRATEGIES, TRANSFER
from compressor.search.strategies.das_bandit import DasBandit
from compressor.search.strategies.strategy import SearchSpace, Trial

PUBLISHED = "published"  # beside the names of the library's own strategies


class Published(DasBandit):
    """The paper's bandit with one batch of held-out samples for all updates, one every 10 steps."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(replace(space, every=UPDATE_EVERY))

    def _propose(self) -> Trial | None:
        trial = super()._propose()
        return replace(trial, rotation=0) if trial else None


class TrainMode(RunCheckpoint):
    """Keeps nothing. While a search runs the model is in train mode, rewards included."""

    @contextmanager
    def running(self, stage: Stage, worker: Any) -> Iterator[None]:
        """Wrap a search."""
        model = worker.supernet.model
        with super().running(stage, worker):
            model.train()
            yield
            model.eval()


def search_as_published(job: Job, progress: Progress) -> SearchResult:
    """Search a job of strategy ``das`` with the public code's loop."""
    own = STRATEGIES[TRANSFER]
    STRATEGIES[TRANSFER] = Published
    try:
        return select_layers(job, TrainMode(None, {}), Stages(), progress).result
    finally:
        STRATEGIES[TRANSFER] = own
