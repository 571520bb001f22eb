"""Zero-shot classification: an image's class is the one whose name, in a sentence, has the nearest vector."""

from __future__ import annotations

from compressor.data.baselines import MAJORITY
from compressor.data.pairs.paired_split import PairedSplit
from compressor.data.pairs.prompted_images import PromptedImages
from compressor.tasks.image_classification import IMAGE_CLASSIFICATION
from compressor.tasks.task import Task
from compressor.tasks.towers.tower_losses import cosine, tower_closeness, tower_distillation, tower_loss
from compressor.tasks.towers.tower_measures import measure_classes
from compressor.tasks.vectors.measure_vectors import COSINE

ZERO_SHOT = Task(
    name="zero-shot",
    samples="images",
    images=1,
    output="embedding",
    metric="accuracy",
    scores=tower_closeness,
    measure=measure_classes,
    sample_metric=COSINE,
    answers=None,
    pseudo_targets=lambda vectors: vectors,
    loss=tower_loss,
    distillation=tower_distillation,
    terms=None,
    probabilities=cosine,
    baseline=MAJORITY,
    layouts=tuple(map(PromptedImages, IMAGE_CLASSIFICATION.layouts)),
    generated=IMAGE_CLASSIFICATION.generated,
    split=PairedSplit,
    taught=True,
)
