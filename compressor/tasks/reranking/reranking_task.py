"""Candidate passages of a query in the order of their relevance: cross-encoders (Nogueira and Cho, 2019)."""

from __future__ import annotations

from compressor.data.baselines import Baseline
from compressor.data.candidates.candidate_split import CandidateSplit
from compressor.data.candidates.graded_pairs import GradedPairs, grades
from compressor.data.layouts.input_forms import InputForm
from compressor.tasks.reranking.list_losses import as_grades, list_loss, pairs_in_order, relevance, score_distillation
from compressor.tasks.reranking.list_measures import measure_lists, random_order
from compressor.tasks.task import Task

PAIRS = (
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("query", "answer"),
    ("question", "answer"),
    ("question", "sentence"),
    ("question", "passage"),
    ("qtext", "atext"),
)
GRADE = ("label", "relevance", "score", "grade", "labels", "rel")
COLUMNS = GradedPairs(
    forms=tuple(InputForm({"text": (query,), "second": (passage,), "label": GRADE}) for query, passage in PAIRS),
    classes=grades,
)
RERANKING = Task(
    name="reranking",
    samples="pairs",
    images=0,
    output="score",
    metric="MAP",
    scores=pairs_in_order,
    measure=measure_lists,
    sample_metric="pairs in order",
    answers=None,
    pseudo_targets=as_grades,
    loss=list_loss,
    distillation=score_distillation,
    terms=None,
    probabilities=relevance,
    baseline=Baseline("passages in an order of chance", random_order),
    layouts=(COLUMNS,),
    unlabelled=COLUMNS.unlabelled,
    split=CandidateSplit,
    purposes=("reranking", "regression", ""),
)
