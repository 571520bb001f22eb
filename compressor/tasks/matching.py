"""Image-text matching: whether a caption belongs to an image (BLIP, Li et al., ICML 2022; METER; ViLT)."""

from __future__ import annotations

from functools import partial

from compressor.data.baselines import Baseline, text_only_score
from compressor.data.generated.matched_captions import write_matches
from compressor.data.layouts import arrow_tables
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import IMAGE, InputForm
from compressor.data.layouts.karpathy import KarpathyJson
from compressor.data.layouts.label_columns import LABEL, task_classes
from compressor.data.pairs.mismatched import MATCHING_LABELS, WithMismatches
from compressor.data.types import Layout
from compressor.tasks import retrieval
from compressor.tasks.task import GeneratedData, Task

LABELS = (*LABEL, "match", "matches", "is_match")
WRITTEN = (("no", "false", "0", "0.0"), ("yes", "true", "1", "1.0"))
SYNONYMS = {word: name for name, words in zip(MATCHING_LABELS, WRITTEN, strict=True) for word in words}
COLUMNS = NamedColumns(
    forms=(InputForm({"text": ("caption", "sentence", "text"), "image": IMAGE, "label": LABELS}),),
    classes=partial(task_classes, MATCHING_LABELS, SYNONYMS),
)
CAPTIONS: tuple[Layout, ...] = (arrow_tables.FLICKR30K, arrow_tables.COCO, KarpathyJson(), retrieval.COLUMNS)
MATCHING = Task(
    name="itm",
    samples="captions",
    images=1,
    classes=2,
    baseline=Baseline("caption-only guesser", text_only_score),
    layouts=(COLUMNS, *(WithMismatches(layout) for layout in CAPTIONS)),
    unlabelled=COLUMNS.unlabelled,
    generated=GeneratedData(write_matches, images=1500, steps=800),
)
