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

STATEMENT = {"text": ("sentence", "statement", "caption", "text", "question"), "label": ("label", "answer")}
PAIRS = (
    ("image_0", "image_1"),
    ("image0", "image1"),
    ("left_image", "right_image"),
    ("image_left", "image_right"),
    ("left", "right"),
    ("image_1", "image_2"),
    ("image1", "image2"),
)
COLUMNS = NamedColumns(
    forms=(
        *(InputForm({**STATEMENT, "image": (left,), "right image": (right,)}) for left, right in PAIRS),
        InputForm({**STATEMENT, "image": ("identifier",)}, image_pair, some_absent=True),
    ),
    classes=partial(task_classes, arrow_tables.NLVR2_LABELS, {"no": "False", "yes": "True"}),
    ids={"identifier": ("identifier",)},
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
    ),
    generated=GeneratedData(write_nlvr2, images=1000, steps=900),
    report_val=True,
)
