"""Texts to vectors, which others are compared with: sentence embedders (Reimers and Gurevych, EMNLP 2019)."""

from __future__ import annotations

from compressor.data.baselines import Baseline
from compressor.data.layouts.input_forms import InputForm
from compressor.data.texts.beir import Beir
from compressor.data.texts.embedded_split import EmbeddedSplit
from compressor.data.texts.scored_pairs import SCORE, ScoredPairs, scores
from compressor.tasks.task import Task
from compressor.tasks.text_classification import PAIRS, SENTENCE
from compressor.tasks.vectors.across_models import recall_across
from compressor.tasks.vectors.measure_vectors import COSINE, guess, measure_vectors
from compressor.tasks.vectors.vector_losses import closeness, vector_distillation, vector_loss

SCORED_PAIRS = ScoredPairs(
    forms=tuple(InputForm({"text": (first,), "second": (second,), "label": SCORE}) for first, second in PAIRS),
    classes=scores,
)
EMBEDDING = Task(
    name="embedding",
    samples="texts",
    images=0,
    output="embedding",
    metric="similarity",
    scores=closeness,
    measure=measure_vectors,
    sample_metric=COSINE,
    answers=None,
    pseudo_targets=lambda vectors: vectors,
    loss=vector_loss,
    distillation=vector_distillation,
    terms=None,
    baseline=Baseline("a guesser without a model", guess),
    layouts=(Beir(), SCORED_PAIRS),
    unlabelled=(
        *SCORED_PAIRS.unlabelled,
        InputForm({"title": ("title",), "text": SENTENCE}),
        InputForm({"text": SENTENCE}),
    ),
    split=EmbeddedSplit,
    taught=True,
    across=recall_across,
)
