"""Samples as batches."""

import pytest

from compressor.data.types import ImageRef, Records, Sample
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import png, splits_of, transforms, write_tables


def test_soft_scores_become_dense_targets(tmp_path):
    data = splits_of(write_tables(tmp_path, train=20, val=3), classes=4)
    batch = data.evaluation.batch([0, 1])
    assert batch["targets"].tolist() == [[1.0, pytest.approx(0.3), 0.0, 0.0], [0.0, 0.0, pytest.approx(0.6), 0.0]]
    assert batch["pixel_values"].shape == (2, 3, 12, 12)


def test_an_image_that_breaks_later_names_its_place():
    broken = ImageRef("the image in row 3 of a table", lambda: png()[:40])
    rows = Records((), (Sample("what?", images=(broken,), labels=(0,), scores=(1.0,)),))
    split = TASKS["vqa"].split("val", rows, transforms(), 1, 1)
    with refused(InputError, "image-does-not-decode", "the image in row 3 of a table"):
        split.batch([0])
