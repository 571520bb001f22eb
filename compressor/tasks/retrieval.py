"""Image and text retrieval (IRTR): every caption of a split is matched with every image, as in METER and ViLT."""

from __future__ import annotations

from functools import partial

from compressor.data.baselines import Baseline, chance_score
from compressor.data.generated.captions import write_retrieval
from compressor.data.layouts import arrow_tables
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import IMAGE, InputForm
from compressor.data.layouts.karpathy import KarpathyJson
from compressor.data.layouts.label_columns import no_classes
from compressor.data.splits import RankedSplit
from compressor.tasks.losses import single_score
from compressor.tasks.task import GeneratedData, Task

COLUMNS = NamedColumns(
    forms=(InputForm({"text": ("caption", "captions", "sentence", "sentences", "raw", "text"), "image": IMAGE}),),
    classes=partial(no_classes, arrow_tables.RETRIEVAL_LABELS),
)
RETRIEVAL = Task(
    name="irtr",
    samples="captions",
    images=1,
    classes=1,
    output="score",
    metric="mean R@1",
    answers=None,
    probabilities=single_score,
    baseline=Baseline("chance", chance_score),
    layouts=(arrow_tables.FLICKR30K, arrow_tables.COCO, KarpathyJson(), COLUMNS),
    generated=GeneratedData(write_retrieval, images=300, steps=700),
    split=RankedSplit,
)
