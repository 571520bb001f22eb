"""Transforms, tokenizers, and the roles of splits."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models

from compressor.data.arrow_files import fingerprint, write_table
from compressor.data.baselines import text_only_score
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.images import ClipTransform, decode_image
from compressor.data.read import find_data, read_data
from compressor.data.roles import make_splits
from compressor.data.text import TextTransform, find_tokenizer
from compressor.data.types import ImageRef, Records, Sample, Transforms
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.compressor.data.layouts.test_layouts import table
from tests.support.command_line import refused

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def tokenizer(style="<s>"):
    return word_tokenizer(["what color is the circle?", "how many things are there?"], style)


def transforms(size=12, length=12):
    return Transforms(TextTransform(tokenizer(), length, 100), ClipTransform(size))


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (48, 48), (20, 31)])
def test_the_image_transform_is_clips(width, height):
    image, size = picture(width, height), 24
    scale = size / min(width, height)
    resized = image.resize((max(size, int(width * scale)), max(size, int(height * scale))), Image.Resampling.BICUBIC)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    cropped = np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    expected = torch.from_numpy(((cropped - MEAN) / STD).transpose(2, 0, 1)).float()
    torch.testing.assert_close(ClipTransform(size)(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_become_rgb(mode):
    buffer = io.BytesIO()
    picture(20, 20).convert(mode).save(buffer, "TIFF")
    assert decode_image(buffer.getvalue(), "a test").mode == "RGB"


def png():
    buffer = io.BytesIO()
    picture(30, 30).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("seed", range(30))
def test_damaged_images_are_input_errors(seed):
    rng, content = np.random.default_rng(seed), bytearray(png())
    for place in rng.integers(8, len(content), 20):  # past the signature: Pillow takes it for a PNG
        content[place] = rng.integers(256)
    with refused(InputError, "image-does-not-decode", "a test"):
        decode_image(bytes(content), "a test")


@pytest.mark.parametrize("content", [None, b"", "text", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dXXXX" + b"\x00" * 20])
def test_what_is_no_image_is_an_input_error(content):
    with refused(InputError, "image-does-not-decode", "a test"):
        decode_image(content, "a test")


def test_a_tokenizer_that_cannot_pad_is_refused():
    plain = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>"))
    with refused(InputError, "tokenizer-without-padding", "<pad>"):
        TextTransform(plain, 8, 100)


def test_a_named_tokenizer_never_brings_code(monkeypatch, tmp_path):
    asked = {}

    def from_pretrained(name, **options):
        asked.update(options)
        raise OSError("not there")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", from_pretrained)
    with refused(InputError, "tokenizer-missing"):
        find_tokenizer("someone/model", tmp_path / "meter.ckpt", None)
    assert asked["trust_remote_code"] is False


def test_texts_are_padded_as_roberta_is():
    encoded = TextTransform(tokenizer(), 8, 100)(["what color is the circle?", "how many"])
    assert encoded["input_ids"].shape == (2, 8)
    assert encoded["input_ids"][0, 0] == 0
    assert encoded["input_ids"][1].tolist()[3:] == [2, 1, 1, 1, 1][: 8 - 3]
    assert encoded["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_long_texts_keep_their_end_token():
    encoded = TextTransform(tokenizer(), 4, 100)(["what color is the circle?"])
    assert encoded["input_ids"][0, -1] == 2


def test_tokenizer_beside_the_checkpoint_in_a_folder_or_by_name(tmp_path):
    checkpoint = tmp_path / "meter.ckpt"
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert find_tokenizer(None, checkpoint, None).get_vocab() == tokenizer().get_vocab()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tokenizer.json").rename(tmp_path / "elsewhere" / "tokenizer.json")
    assert find_tokenizer(str(tmp_path / "elsewhere"), checkpoint, None).get_vocab() == tokenizer().get_vocab()
    assert find_tokenizer(None, checkpoint, str(tmp_path / "elsewhere")).get_vocab() == tokenizer().get_vocab()


def test_pairs_are_encoded_as_pairs():
    names = ("input_ids", "attention_mask", "token_type_ids")
    encoded = TextTransform(tokenizer("[CLS]"), 10, 100, names)(["how many", "things"], ["the circle", "the"])
    assert tuple(encoded) == names
    assert all(tensor.shape == (2, 10) and tensor.dtype == torch.int64 for tensor in encoded.values())
    assert encoded["token_type_ids"].tolist() == [[0] * 4 + [1] * 3 + [0] * 3, [0] * 3 + [1] * 2 + [0] * 5]
    assert encoded["attention_mask"].sum(1).tolist() == [7, 5]
    assert encoded["input_ids"][1, 5:].tolist() == [0] * 5


def test_the_longer_text_of_a_pair_is_cut():
    encoded = TextTransform(tokenizer("[CLS]"), 8, 100)(["how many things are there"], ["the"])
    plain = TextTransform(tokenizer("[CLS]"), 8, 100)(["how many things are"], ["the"])
    assert encoded["input_ids"].tolist() == plain["input_ids"].tolist()


def test_the_tokenizer_in_a_hugging_face_folder(tmp_path):
    tokenizer("[CLS]").save(str(tmp_path / "tokenizer.json"))
    assert find_tokenizer(None, tmp_path, None).get_vocab() == tokenizer("[CLS]").get_vocab()


def test_the_vocabulary_file_in_a_hugging_face_folder(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    found = find_tokenizer(None, tmp_path, None)
    assert found.encode("Red blue").ids == [2, 5, 6, 3]


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    with refused(InputError, "tokenizer-missing", "tokenizer.json (not there)"):
        find_tokenizer(None, tmp_path, None)


def tables(folder, **images):
    for name, count in images.items():
        write_table(folder / f"vqav2_{name}.arrow", table(count))
    return folder


def roles(folder, classes=3):
    return make_splits(read_data(folder, "vqa"), folder, TASKS["vqa"], transforms(), classes)


def pictures_of(split):
    return {sample.images for sample in split.samples}


def test_soft_scores_become_dense_targets(tmp_path):
    data = roles(tables(tmp_path, train=20, val=3), classes=4)
    batch = data.evaluation.batch([0, 1])
    assert batch["targets"].tolist() == [[1.0, pytest.approx(0.3), 0.0, 0.0], [0.0, 0.0, pytest.approx(0.6), 0.0]]
    assert batch["pixel_values"].shape == (2, 3, 12, 12)


def test_with_a_test_split_the_layers_are_chosen_on_val(tmp_path):
    data = roles(tables(tmp_path, train=20, val=4, test=5))
    assert [split.name for split in (data.train, data.held_out, data.evaluation)] == ["train", "val", "test"]
    assert [len(split) for split in (data.train, data.held_out, data.evaluation)] == [40, 8, 10]


def test_without_a_test_split_a_tenth_of_the_images_is_held_out(tmp_path):
    data = roles(tables(tmp_path, train=20, val=4))
    assert data.evaluation.name == "val"
    assert (len(data.train), len(data.held_out)) == (36, 4)
    assert not pictures_of(data.train) & pictures_of(data.held_out)


def test_labels_that_the_head_does_not_have(tmp_path):
    folder = tables(tmp_path, train=20)
    write_table(folder / "vqav2_val.arrow", table(3, first_label=3))
    with refused(InputError, "label-beyond-head", "vqav2_val.arrow", "label 3,", "3 classes"):
        roles(folder)


def test_too_few_images_to_hold_some_out(tmp_path):
    with refused(InputError, "nothing-to-train-on"):
        roles(tables(tmp_path, train=1, val=3))


@pytest.mark.parametrize(("bad", "fails"), [(1, False), (3, True)])
def test_more_than_a_hundredth_of_unreadable_rows_fails(tmp_path, bad, fails):
    columns = table(100)
    columns["image"][:bad] = [b"nothing"] * bad
    write_table(tmp_path / "vqav2_train.arrow", columns)
    tables(tmp_path, val=3)
    if fails:
        with refused(InputError, "too-many-unusable-rows", "vqav2_train.arrow, row 0: the image does not decode"):
            roles(tmp_path)
    else:
        assert roles(tmp_path).train.describe()["unreadable"] == ["vqav2_train.arrow, row 0: the image does not decode"]


def test_a_training_split_alone_is_not_enough(tmp_path):
    with refused(InputError, "split-missing", "splits: train"):
        roles(tables(tmp_path, train=5))


def test_fingerprints_follow_the_content(tmp_path):
    tables(tmp_path, train=20)
    before = fingerprint(tmp_path / "vqav2_train.arrow")
    write_table(tmp_path / "vqav2_train.arrow", table(20) | {"split": ["other"] * 20})
    assert fingerprint(tmp_path / "vqav2_train.arrow") != before


def test_the_floor_is_what_its_definition_says(tmp_path):
    data = roles(tables(tmp_path, train=20, val=4))
    assert text_only_score(data.train, data.evaluation) == pytest.approx((1.0 + 0.6) / 2)


def test_the_places_looked_at_for_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAS_DATA", raising=False)
    with refused(InputError, "data-folder-missing", "$DAS_DATA: not set; ./data: data; the checkpoint: gone"):
        find_data(None, "gone")
    (tmp_path / "data").mkdir()
    assert find_data(None, "gone").resolve() == (tmp_path / "data").resolve()


def test_an_image_that_breaks_later_names_its_place():
    broken = ImageRef("the image in row 3 of a table", lambda: png()[:40])
    rows = Records((), (Sample("what?", images=(broken,), labels=(0,), scores=(1.0,)),))
    split = TASKS["vqa"].split("val", rows, transforms(), 1, 1)
    with refused(InputError, "image-does-not-decode", "the image in row 3 of a table"):
        split.batch([0])
