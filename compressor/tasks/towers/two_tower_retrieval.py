"""Retrieval by vectors: texts and images that are embedded apart, each matched with all of the other kind."""

from __future__ import annotations

from compressor.data.baselines import Baseline, chance_score
from compressor.data.pairs.paired_split import PairedSplit
from compressor.tasks.retrieval import COLUMNS, RETRIEVAL
from compressor.tasks.task import Task
from compressor.tasks.towers.tower_losses import cosine, tower_closeness, tower_distillation, tower_loss
from compressor.tasks.towers.tower_measures import measure_retrieval, recall_across
from compressor.tasks.vectors.measure_vectors import COSINE

TWO_TOWER_RETRIEVAL = Task(
    name="retrieval",
    samples="captions",
    images=1,
    output="embedding",
    metric=RETRIEVAL.metric,
    scores=tower_closeness,
    measure=measure_retrieval,
    sample_metric=COSINE,
    answers=None,
    pseudo_targets=lambda vectors: vectors,
    loss=tower_loss,
    distillation=tower_distillation,
    terms=None,
    probabilities=cosine,
    baseline=Baseline("chance", chance_score),
    layouts=RETRIEVAL.layouts,
    unlabelled=COLUMNS.unlabelled,
    generated=RETRIEVAL.generated,
    split=PairedSplit,
    taught=True,
    across=recall_across,
)
