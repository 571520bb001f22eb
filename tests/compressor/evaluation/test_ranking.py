"""Retrieval: every image against every caption, each encoder once, and training against false captions."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from compressor.checkpoints.build import load_checkpoint
from compressor.data.splits import RankedSplit
from compressor.data.types import ImageRef, Records, Sample, Transforms
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.ranking import match_scores
from compressor.families import FAMILIES
from compressor.models.padding import join_rows
from compressor.models.steps import split_where_modalities_meet, steps_of
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from compressor.progress import QUIET
from compressor.tasks import TASKS
from compressor.tasks.towers.matches import recalls
from tests.support.command_line import GOLDEN
from tests.support.numbered_texts import NumberedTexts

NAMES = ("meter_tiny_irtr", "vilt_tiny_irtr")


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


class Numbered:
    """An image transform that knows the golden tensors: the picture's one pixel says which it is."""

    def __init__(self, vectors):
        self.images, self.sizes = vectors["recall_images"], vectors.get("recall_image_sizes")

    def __call__(self, image):
        number = image.getpixel((0, 0))[0]
        if self.sizes is None:
            return self.images[number]
        height, width = self.sizes[number].tolist()
        return self.images[number][:, :height, :width]

    def collate(self, pixels):
        if self.sizes is None:
            return {"pixel_values": torch.stack(list(pixels))}
        masks = [torch.ones(1, *image.shape[1:], dtype=torch.long) for image in pixels]
        return {"pixel_values": join_rows([image[None] for image in pixels]), "pixel_mask": join_rows(masks)}


def split_of(vectors):
    ids, masks = (vectors[f"recall_text_{kind}"].numpy() for kind in ("ids", "masks"))
    texts = NumberedTexts([np.stack([ids[row], mask])[:, : mask.sum()] for row, mask in enumerate(masks)])

    def png(number):
        buffer = io.BytesIO()
        Image.new("RGB", (1, 1), (number, 0, 0)).save(buffer, "PNG")
        return buffer.getvalue()

    places = vectors["recall_image_index"].tolist()
    pictures = [ImageRef(str(i), lambda i=i: png(i)) for i in range(len(places))]
    owners = [places.index(index) for index in vectors["recall_text_image_index"].tolist()]
    samples = tuple(Sample(str(i), images=(pictures[owner],), labels=(0,)) for i, owner in enumerate(owners))
    return RankedSplit("test", Records((), samples), Transforms(texts, Numbered(vectors)), 1, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [3, 64])
def test_match_scores_are_what_the_public_code_scores(name, batch_size):
    vectors = golden(name)
    model, split = load_checkpoint(GOLDEN / f"{name}.ckpt").model, split_of(vectors)
    shown = [int(picture.origin) for picture in split.gallery]  # images without captions are in no Karpathy split
    for which in (model, trim(model)):
        ours = match_scores(which, split, batch_size, QUIET, "")
        torch.testing.assert_close(ours, vectors["recall_rank_scores"][shown], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_ranks_the_whole_split(name):
    vectors = golden(name)
    model, split = load_checkpoint(GOLDEN / f"{name}.ckpt").model, split_of(vectors)
    found = evaluate(model, split, TASKS["irtr"])
    matrix = match_scores(model, split, 64, QUIET, "")
    expected = recalls(matrix, torch.from_numpy(split.owners))
    assert found.score.parts == expected
    assert found.score.value == pytest.approx((expected["IR R@1"] + expected["TR R@1"]) / 2)
    assert found.answers.tolist() == matrix.argmax(0).tolist()
    batch = split.batch(np.arange(len(split)))
    names = FAMILIES[model.family].input_names
    with torch.no_grad():
        loss = TASKS["irtr"].loss(model(**{key: batch[key] for key in names}), batch)
    assert found.score.loss == pytest.approx(float(loss), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_reads_both_runs_for_every_pair(name):
    model = load_checkpoint(GOLDEN / f"{name}.ckpt").model
    early, late = split_where_modalities_meet(model.rounds, FAMILIES[model.family].streams)
    pools = {step.pool for step in steps_of(late) if step.pool}
    assert pools == {"meter": {"fusion-language", "fusion-vision"}, "vilt": {"encoder"}}[model.family]
    assert not pools & {step.pool for step in steps_of(early)}


def test_each_encoder_runs_once_for_each_caption_and_each_image():
    vectors = golden("meter_tiny_irtr")
    model, split = load_checkpoint(GOLDEN / "meter_tiny_irtr.ckpt").model, split_of(vectors)
    rows = {"LEn0": 0, "VEn0": 0, "FL0": 0}

    def count(name):
        return lambda _block, _inputs, out: rows.__setitem__(name, rows[name] + len(out))

    for name in rows:
        model.blocks[name].register_forward_hook(count(name))
    match_scores(model, split, 5, QUIET, "")
    captions, images = len(split), len(split.gallery)
    assert rows == {"LEn0": captions, "VEn0": images, "FL0": captions * images}


def test_a_slim_model_ranks_as_its_pairs_do():
    vectors = golden("meter_tiny_irtr")
    full = load_checkpoint(GOLDEN / "meter_tiny_irtr.ckpt").model
    slim, split = remove_layers(full, make_plan(full, ["LEn1", "FL0", "FV1"])), split_of(vectors)
    scores = match_scores(slim, split, 5, QUIET, "")
    inputs = {**split.texts([4] * 1), **split.pixels([split.gallery[2]])}
    with torch.no_grad():
        torch.testing.assert_close(slim(**inputs)[0, 0], scores[2, 4], atol=1e-5, rtol=0)


def test_false_captions_are_of_other_images_and_always_the_same():
    split = split_of(golden("meter_tiny_irtr"))
    owners = split.owners
    for number in range(len(split)):
        own, *others = split.captions_of(number)
        assert own == number
        assert all(owners[other] != owners[own] for other in others)
        assert split.captions_of(number) == [own, *others]
    assert len({tuple(split.captions_of(number)[1:]) for number in range(len(split))}) > 5
    batch = split.batch([3, 5])
    assert len(batch["input_ids"]) == 2 * split.rows_per_sample
    assert len(batch["pixel_values"]) == 2
    assert batch["targets"].tolist() == [[1.0] + [0.0] * (split.rows_per_sample - 1)] * 2


def test_recalls_of_a_matrix_one_can_check_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.8], [0.2, 0.3, 0.95]])  # image 0 owns captions 0 and 1, image 1 caption 2
    found = recalls(scores, torch.tensor([0, 0, 1]))
    assert found["IR R@1"] == pytest.approx(2 / 3)  # caption 1 prefers image 1
    assert found["TR R@1"] == 1.0
    assert found["IR R@5"] == found["TR R@10"] == 1.0
