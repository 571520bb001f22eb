"""A tag for every word of a sentence: named entities (CoNLL-2003, Tjong Kim Sang and De Meulder), parts of speech."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.baselines import Baseline
from compressor.data.layouts.input_forms import InputForm
from compressor.data.splits import Split
from compressor.data.types import Batch
from compressor.errors import environment_problem
from compressor.tasks.measured import Measured, resample
from compressor.tasks.task import Task
from compressor.tasks.texts.tagged_split import TaggedSplit
from compressor.tasks.texts.tagged_words import ConllFiles, TaggedColumns, tag_lists

WORDS = ("tokens", "words", "text")
TAGS = ("ner_tags", "tags", "labels", "ner", "pos_tags", "upos")
OUTSIDE = "O"


def tag_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of the right tags; logits (B, L, classes), targets as :class:`TaggedSplit` says."""
    logits, targets = _of_one_length(logits, batch["targets"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten() - 1, ignore_index=-1)


def tag_distillation(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross-entropy with the teacher's probabilities at the tokens that have a tag."""
    logits, targets = _of_one_length(logits, batch["targets"])
    teacher, _ = _of_one_length(teacher, batch["targets"])
    asked = targets > 0
    return F.cross_entropy(logits[asked], teacher[asked].softmax(-1))


def count_tags(batch: Batch) -> int:
    """Return how many tokens of a batch have a tag."""
    return int((batch["targets"] > 0).sum())


def share_of_tags(logits: Tensor, batch: Batch) -> Tensor:
    """Return the share of each sentence's tags that are right, (B,)."""
    logits, targets = _of_one_length(logits, batch["targets"])
    asked = targets > 0
    right = (logits.argmax(-1) + 1 == targets) & asked
    return right.sum(-1).to(logits.dtype) / asked.sum(-1).clamp(min=1)


def _of_one_length(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as long as the shorter one is: what is longer is padding."""
    length = min(logits.shape[1], targets.shape[1])
    return logits[:, :length], targets[:, :length]


def entity_scores(outputs: Tensor, split: Split) -> Measured:
    """Return the F1 of entities, as seqeval counts them; ``outputs`` are (n, L, classes).

    An entity is right if its words and its kind are. Words that are cut off are not asked for.
    """
    assert isinstance(split, TaggedSplit)
    said, right = [], []
    for row, (sample, firsts) in enumerate(zip(split.samples, split.first_tokens(range(len(split))), strict=True)):
        there = firsts >= 0
        said.append(outputs[row, torch.from_numpy(firsts[there])].argmax(-1).tolist())
        right.append([tag for tag, kept in zip(sample.labels, there, strict=True) if kept])
    counts = count_entities(said, right, split.records.names)
    value, each = resample(lambda numbers: entity_f1(counts[numbers]), len(counts))
    hits, given, known = counts.sum(0)
    matches = [a == b for one, other in zip(said, right, strict=True) for a, b in zip(one, other, strict=True)]
    parts = {
        "precision": float(hits / max(given, 1)),
        "recall": float(hits / max(known, 1)),
        "tags right": float(np.mean(matches)),
    }
    return Measured(value, each, len(counts), parts)


def count_entities(said: Sequence[Sequence[int]], right: Sequence[Sequence[int]], names: Sequence[str]) -> np.ndarray:
    """Return of each sentence how many entities are right, given and known, (n, 3).

    Args:
        said: numbers of the tags that a model gives, sentence by sentence.
        right: of the right ones.
        names: of the tags, B-PER and the like; the number of a tag without one stands for no entity.

    Raises:
        EnvironmentProblem: seqeval is not installed.
    """

    def entities(tags: Sequence[int]) -> set[tuple[str, int, int]]:
        return {*entities_in([names[tag] if tag < len(names) else OUTSIDE for tag in tags])}

    found = [(entities(one), entities(other)) for one, other in zip(said, right, strict=True)]
    return np.array([(len(one & other), len(one), len(other)) for one, other in found])


def entities_in(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return kind, first and last word of each entity that tags mean, B-PER I-PER O and the like, as seqeval has it.

    Raises:
        EnvironmentProblem: seqeval is not installed.
    """
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ImportError:
        raise environment_problem(
            "seqeval-missing", "seqeval is not installed", "what finds entities in tags", "pip install seqeval"
        ) from None
    found: list[tuple[str, int, int]] = get_entities([*tags])
    return found


def entity_f1(counts: np.ndarray) -> float:
    """Return the F1 of entities counted as :func:`count_entities` does; 0 where there are none."""
    hits, given, known = counts.sum(0)
    return float(2 * hits / max(given + known, 1))


def usual_tags(train: Split, evaluation: Split) -> float:
    """Return the entity F1 of giving every word the tag that it has most often in training, any other the usual one."""
    votes: defaultdict[str, Counter[int]] = defaultdict(Counter)
    overall: Counter[int] = Counter()
    for sample in train.samples:
        for word, tag in zip(sample.text.split(), sample.labels, strict=True):
            votes[word][tag] += 1
            overall[tag] += 1
    best, usual = {word: tags.most_common(1)[0][0] for word, tags in votes.items()}, overall.most_common(1)[0][0]
    said = [[best.get(word, usual) for word in sample.text.split()] for sample in evaluation.samples]
    return entity_f1(count_entities(said, [sample.labels for sample in evaluation.samples], evaluation.records.names))


COLUMNS = TaggedColumns(forms=(InputForm({"text": WORDS, "label": TAGS}),), classes=tag_lists)
TOKEN_CLASSIFICATION = Task(
    name="token-classification",
    samples="sentences",
    images=0,
    output="tags",
    metric="entity F1",
    scores=share_of_tags,
    measure=entity_scores,
    sample_metric="tags right",
    answers=None,
    loss=tag_loss,
    distillation=tag_distillation,
    terms=count_tags,
    baseline=Baseline("each word's usual tag", usual_tags),
    layouts=(COLUMNS, ConllFiles()),
    split=TaggedSplit,
)
