"""The tasks das knows, in one explicit list."""

from __future__ import annotations

from compressor.errors import usage_error
from compressor.tasks.embedding import EMBEDDING
from compressor.tasks.image_classification import IMAGE_CLASSIFICATION
from compressor.tasks.matching import MATCHING
from compressor.tasks.nlvr2 import NLVR2
from compressor.tasks.reranking.reranking_task import RERANKING
from compressor.tasks.retrieval import RETRIEVAL
from compressor.tasks.snli_ve import SNLI_VE
from compressor.tasks.task import Task
from compressor.tasks.text_classification import TEXT_CLASSIFICATION
from compressor.tasks.texts.multi_label import MULTI_LABEL
from compressor.tasks.texts.regression import REGRESSION
from compressor.tasks.texts.token_classification import TOKEN_CLASSIFICATION
from compressor.tasks.towers.two_tower_retrieval import TWO_TOWER_RETRIEVAL
from compressor.tasks.towers.zero_shot import ZERO_SHOT
from compressor.tasks.vqa import VQA

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(VQA, NLVR2, RETRIEVAL, SNLI_VE, MATCHING, TWO_TOWER_RETRIEVAL, ZERO_SHOT),
        *(TEXT_CLASSIFICATION, EMBEDDING, MULTI_LABEL, REGRESSION, RERANKING, TOKEN_CLASSIFICATION),
        IMAGE_CLASSIFICATION,
    )
}
"""By the name users type."""


def check_task(name: str) -> None:
    """Refuse a task that a checkpoint may have a head for, but that das cannot score.

    Raises:
        UsageError: no such task.
    """
    if name not in TASKS:
        raise usage_error(
            "task-not-compressible",
            f"--task {name}: das loads such a head, and has no data or metric to compress it for",
            f"one of {', '.join(TASKS)}",
            f"--task {next(iter(TASKS))}",
        )
