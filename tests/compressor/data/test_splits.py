"""Samples as batches."""

import pytest

from compressor.data.splits import fit_text_length, note_cut
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


def test_cut_texts_are_counted_where_the_model_takes_longer_ones():
    """Of one that has just as many tokens as are read nothing is cut; pairs lose theirs together."""
    words = "what color is the circle?"
    samples = [Sample(words, labels=(0,), scores=(1.0,)), Sample("the", words, labels=(0,), scores=(1.0,))]
    samples.append(Sample(f"{words} the circle?", labels=(0,), scores=(1.0,)))
    whole, *_ = TASKS["text-classification"].split("val", Records((), samples[:1]), transforms(), 2, 0).lengths
    split = TASKS["text-classification"].split("val", Records((), samples), transforms(length=int(whole)), 2, 0)
    assert split.count_cut(1) == 0 and split.count_cut(3) == 2
    (note,) = note_cut(split, 99)
    assert note == f"2 of the first 3 texts of val are cut to {whole} tokens; the model takes 99: --text-length 99"
    (note,) = note_cut(split, int(whole))
    assert note == f"2 of the first 3 texts of val are cut to {whole} tokens, the most that model and tokenizer take"
    assert note_cut(split, 0) == ()


@pytest.mark.parametrize(("most", "fitted"), [(99, 11), (6, 6), (5, 5)])
def test_texts_are_as_long_as_the_longest_needs_and_no_longer_than_the_model_takes(most, fitted):
    """What was tokenised before stays right, and texts that are looked at later are cut where these end."""
    words = ["the", "what color is the circle?", "what color is the circle? the circle?"]
    samples = [Sample(text, labels=(0,), scores=(1.0,)) for text in words]
    text = transforms(length=4)
    split = TASKS["text-classification"].split("val", Records((), samples), text, 2, 0)
    train = TASKS["text-classification"].split("train", Records((), samples[:2]), text, 2, 0)
    assert fit_text_length((split,), (train,), most) == text.text.length == fitted
    assert split.lengths.max() == fitted
