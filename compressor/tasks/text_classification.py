"""Sentences, or pairs of sentences, with one class each: GLUE (Wang et al., ICLR 2019) and data sets like it."""

from __future__ import annotations

from compressor.data.generated.sentiments import write_sentences
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.glue import GlueTsv
from compressor.data.layouts.input_forms import InputForm
from compressor.data.layouts.label_columns import LABEL, own_classes
from compressor.tasks.task import GeneratedData, Task

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("text", "text_pair"),
    ("s1", "s2"),
    ("query", "passage"),
    ("query", "document"),
)
SENTENCE = ("sentence", "text", "content", "review", "comment", "tweet", "document")
COLUMNS = NamedColumns(
    forms=(
        *(InputForm({"text": (first,), "second": (second,), "label": LABEL}) for first, second in PAIRS),
        InputForm({"text": SENTENCE, "label": LABEL}),
    ),
    classes=own_classes,
    ids={"index": ("index", "idx", "id")},
)
TEXT_CLASSIFICATION = Task(
    name="text-classification",
    samples="sentences",
    images=0,
    layouts=(GlueTsv(), COLUMNS),
    unlabelled=(*COLUMNS.unlabelled, InputForm({"text": ("#1 String",), "second": ("#2 String",)})),
    generated=GeneratedData(write_sentences, images=4000, steps=300),
)
