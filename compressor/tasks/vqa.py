"""Visual question answering with soft scores: VQA v2 (Goyal et al., CVPR 2017) as METER and ViLT score it.

GQA (Hudson and Manning, CVPR 2019) and VizWiz (Gurari et al., CVPR 2018) are data of the same task.
"""

from __future__ import annotations

import torch

from compressor.data.baselines import Baseline, text_only_score
from compressor.data.generated.questions import write_vqa
from compressor.data.layouts import arrow_tables
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.gqa_json import GqaJson, image_of_gqa
from compressor.data.layouts.input_forms import COCO_NAME, IMAGE, InputForm, image_by_name
from compressor.data.layouts.label_columns import answer_vocabulary
from compressor.data.layouts.vizwiz_json import VizWizJson
from compressor.data.layouts.vqa_json import VqaJson
from compressor.tasks.losses import soft_binary_distillation, soft_binary_loss, soft_scores
from compressor.tasks.task import GeneratedData, Task

COLUMNS = NamedColumns(
    forms=tuple(
        InputForm({"text": ("question",), "label": (answers,), "image": IMAGE})
        for answers in ("answers", "answer", "multiple_choice_answer")
    ),
    classes=answer_vocabulary,
    ids={"question_id": ("question_id",), "questionId": ("questionId",)},
)
VQA = Task(
    name="vqa",
    samples="questions",
    images=1,
    metric="VQA score",
    scores=soft_scores,
    loss=soft_binary_loss,
    distillation=soft_binary_distillation,
    probabilities=torch.sigmoid,
    baseline=Baseline("question-only guesser", text_only_score),
    layouts=(*arrow_tables.VQA, VqaJson(), GqaJson(), VizWizJson(), COLUMNS),
    unlabelled=(
        InputForm({"text": ("question",), "image": (COCO_NAME,)}, image_by_name),
        InputForm({"text": ("question",), "image": ("imageId",)}, image_of_gqa),
        *COLUMNS.unlabelled,
        InputForm({"text": ("questions",), "image": IMAGE}),
    ),
    generated=GeneratedData(write_vqa, images=2000, steps=1500),
    open_vocabulary=True,
)
