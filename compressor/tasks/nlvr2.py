"""Statements about two images, true or false: NLVR2 (Suhr et al., ACL 2019)."""

from __future__ import annotations

from functools import partial

from compressor.data.baselines import Baseline, text_only_score
from compressor.data.generated.statements import write_nlvr2
from compressor.data.layouts import arrow_tables
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import InputForm, image_pair
from compressor.data.layouts.label_columns import task_classes
from compressor.data.layouts.nlvr2_json import Nlvr2Json
from compressor.tasks.task import GeneratedData, Task

COLUMNS = NamedColumns(
    forms=(
        {
            "text": ("sentence", "statement", "caption", "text", "question"),
            "label": ("label", "answer"),
            "image": ("image_0", "left_image", "image_left", "image1"),
            "right image": ("image_1", "right_image", "image_right", "image2"),
        },
    ),
    classes=partial(task_classes, arrow_tables.NLVR2_LABELS, {"no": "False", "yes": "True"}),
)
NLVR2 = Task(
    name="nlvr2",
    samples="statements",
    images=2,
    classes=2,
    baseline=Baseline("statement-only guesser", text_only_score),
    layouts=(arrow_tables.NLVR2, Nlvr2Json(), COLUMNS),
    unlabelled=(
        *COLUMNS.unlabelled,
        InputForm({"text": ("questions",), "image": ("image_0",), "right image": ("image_1",)}),
        InputForm({"text": ("sentence",), "image": ("identifier",)}, image_pair, some_absent=True),
    ),
    generated=GeneratedData(write_nlvr2, images=1000, steps=900),
    report_val=True,
)
