"""Visual entailment: whether a hypothesis follows from an image (SNLI-VE, Xie et al., 2019)."""

from __future__ import annotations

from functools import partial

from compressor.data.baselines import Baseline, text_only_score
from compressor.data.generated.hypotheses import write_snli_ve
from compressor.data.layouts import arrow_tables
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import FLICKR, IMAGE, InputForm, image_of_flickr
from compressor.data.layouts.label_columns import LABEL, task_classes
from compressor.data.layouts.snli_ve_jsonl import SnliVeJsonl
from compressor.tasks.task import GeneratedData, Task

HYPOTHESIS = ("hypothesis", "sentence2", "sentence", "text")
LABELS = arrow_tables.SNLI_VE_LABELS
COLUMNS = NamedColumns(
    forms=(
        InputForm({"text": HYPOTHESIS, "label": LABEL, "image": IMAGE}),
        InputForm({"text": HYPOTHESIS, "label": LABEL, "image": FLICKR}, image_of_flickr),
    ),
    classes=partial(task_classes, LABELS, {}),
    ids={"pairID": ("pairID",)},
)
SNLI_VE = Task(
    name="snli-ve",
    samples="hypotheses",
    images=1,
    classes=3,
    baseline=Baseline("hypothesis-only guesser", text_only_score),
    layouts=(arrow_tables.SNLI_VE, SnliVeJsonl(), COLUMNS),
    unlabelled=(
        *COLUMNS.unlabelled,
        InputForm({"text": ("sentences",), "image": IMAGE}),
    ),
    generated=GeneratedData(write_snli_ve, images=1500, steps=800),
    report_val=True,
)
