"""Images with one class each, as ImageNet has them (Russakovsky et al., IJCV 2015)."""

from __future__ import annotations

from torch import Tensor

from compressor.data.generated.pictures import write_pictures
from compressor.data.image_folders.class_folders import ClassFolders
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import IMAGE, InputForm
from compressor.data.layouts.label_columns import LABEL, own_classes
from compressor.data.types import Batch
from compressor.tasks.task import GeneratedData, Task

COLUMNS = NamedColumns(
    forms=(InputForm({"image": IMAGE, "label": LABEL}),), classes=own_classes, ids={"index": ("index", "idx", "id")}
)


def among_five(logits: Tensor, batch: Batch) -> Tensor:
    """Return 1 for each sample whose class is among the five most likely ones, else 0, (B,)."""
    best = logits.topk(min(5, logits.shape[-1])).indices
    return batch["targets"].gather(-1, best).amax(-1)


IMAGE_CLASSIFICATION = Task(
    name="image-classification",
    samples="images",
    images=1,
    texts=False,
    further={"top-5 accuracy": among_five},
    layouts=(COLUMNS, ClassFolders()),
    unlabelled=COLUMNS.unlabelled,
    generated=GeneratedData(write_pictures, images=2000, steps=600),
)
