"""Tables, transforms and generated scenes."""

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models

from compressor.data.images import ImageTransform, decode_image
from compressor.data.scenes import ANSWERS, draw, questions, scene, word_tokenizer, write_scenes
from compressor.data.tables import write_table
from compressor.data.text import TextTransform, find_tokenizer
from compressor.data.vqa import Transforms, answer_count, load_vqa, question_only_floor
from compressor.errors import InputError

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def tokenizer():
    return word_tokenizer(["what color is the circle?", "how many things are there?"])


def transforms(size=12, length=12):
    return Transforms(TextTransform(tokenizer(), length, 100), ImageTransform(size))


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
    torch.testing.assert_close(ImageTransform(size)([image])[0], expected, atol=1e-5, rtol=0)


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
    with pytest.raises(InputError, match="a test does not decode"):
        decode_image(bytes(content), "a test")


@pytest.mark.parametrize("content", [None, b"", "text", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dXXXX" + b"\x00" * 20])
def test_what_is_no_image_is_an_input_error(content):
    with pytest.raises(InputError, match="a test does not decode"):
        decode_image(content, "a test")


def test_a_tokenizer_that_cannot_pad_is_refused():
    plain = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>"))
    with pytest.raises(InputError, match="without the token <pad>"):
        TextTransform(plain, 8, 100)


def test_a_named_tokenizer_never_brings_code(monkeypatch, tmp_path):
    asked = {}

    def from_pretrained(name, **options):
        asked.update(options)
        raise OSError("not there")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", from_pretrained)
    with pytest.raises(InputError, match="no tokenizer"):
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


def table(images, first_label=0):
    """Rows as METER's converter writes them: two questions an image, one of them with two answers."""
    buffer = io.BytesIO()
    picture(16, 16).save(buffer, "PNG")
    return {
        "image": [buffer.getvalue()] * images,
        "questions": [["what color is the circle?", "how many things are there?"]] * images,
        "answers": [[["red", "blue"], ["two"]]] * images,
        "answer_labels": [[[first_label, 1], [2]]] * images,
        "answer_scores": [[[1.0, 0.3], [0.6]]] * images,
        "image_id": list(range(images)),
        "question_id": [[2 * i, 2 * i + 1] for i in range(images)],
        "split": ["train"] * images,
    }


def test_soft_scores_become_dense_targets(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(20))
    write_table(tmp_path / "vqav2_val.arrow", table(3))
    data = load_vqa(tmp_path, transforms(), classes=4)
    batch = data.evaluation.batch([0, 1])
    assert batch["targets"].tolist() == [[1.0, pytest.approx(0.3), 0.0, 0.0], [0.0, 0.0, pytest.approx(0.6), 0.0]]
    assert batch["pixel_values"].shape == (2, 3, 12, 12)
    assert data.labels == ("red", "blue", "two", "<class 3>")


def names(split):
    return [path.name for path, _ in split.tables]


def images_of(split):
    return {(int(table), int(row)) for table, row, _ in split.index}


@pytest.mark.parametrize(
    ("tables", "train", "held_out", "evaluation"),
    [
        (("train", "val", "test"), ["train"], ["val"], ["test"]),
        (("train", "val"), ["train"], ["train"], ["val"]),
        (("train", "trainable_val", "rest_val", "val"), ["train", "trainable_val"], None, ["rest_val"]),
        (("train", "trainable_val", "val"), ["train"], ["train"], ["val"]),
    ],
)
def test_splits_never_overlap(tmp_path, tables, train, held_out, evaluation):
    for name in tables:
        write_table(tmp_path / f"vqav2_{name}.arrow", table(20))
    data = load_vqa(tmp_path, transforms(), classes=3)
    assert names(data.train) == [f"vqav2_{name}.arrow" for name in train]
    assert names(data.evaluation) == [f"vqav2_{name}.arrow" for name in evaluation]
    if held_out:
        assert names(data.held_out) == [f"vqav2_{name}.arrow" for name in held_out]
    if names(data.held_out) == names(data.train):
        assert not images_of(data.train) & images_of(data.held_out)
        assert len(images_of(data.train) | images_of(data.held_out)) == 20 * len(train)
    assert set(names(data.evaluation)).isdisjoint(names(data.train))


def test_a_test_table_without_answers_is_not_scored_on(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(20))
    write_table(tmp_path / "vqav2_val.arrow", table(4))
    unanswered = table(4) | {
        "answers": [[[], []]] * 4,
        "answer_labels": [[[], []]] * 4,
        "answer_scores": [[[], []]] * 4,
    }
    unanswered["answer_labels"] = pa.array(unanswered["answer_labels"], pa.list_(pa.list_(pa.int64())))
    write_table(tmp_path / "vqav2_test.arrow", unanswered)
    assert names(load_vqa(tmp_path, transforms(), classes=3).evaluation) == ["vqav2_val.arrow"]


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("questions", "what?", "questions is not a list of texts"),
        ("questions", ["what?", None], "questions is not a list of texts"),
        ("questions", ["what?"], "1 questions, 2 lists of answer labels"),
        ("answers", ["red", "two"], "answers is not a list of lists of texts"),
        ("answer_labels", [1, 2], "answer_labels is not a list of lists"),
        ("answer_labels", [["1", "2"], ["0"]], "answer_labels is not a list of lists"),
        ("answer_labels", [[0, 1], None], "answer_labels is not a list of lists"),
        ("answer_labels", [[0, 1], [-1]], "answer label -1"),
        ("answer_labels", [[0, 3], [2]], "answer label 3, the model's head has 3 classes"),
        ("answer_labels", [[0], [2]], "a question with 1 answer labels and 2 answer scores"),
        ("answer_labels", [[0, 1], [2], [1]], "2 questions, 3 lists of answer labels"),
        ("answer_labels", [], "2 questions, 0 lists of answer labels"),
        ("answer_scores", [], "2 questions, 2 lists of answer labels, 0 lists of answer scores"),
        ("answer_scores", [1.0, 0.5], "answer_scores is not a list of lists"),
        ("answer_scores", [[1.0, None], [0.6]], "answer_scores is not a list of lists"),
        ("answer_scores", [[1.0, 1.5], [0.6]], "answer score 1.5"),
        ("answer_scores", [[1.0, float("nan")], [0.6]], "answer score nan"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(tmp_path, column, cell, message):
    write_table(tmp_path / "vqav2_train.arrow", table(20))
    write_table(tmp_path / "vqav2_val.arrow", table(3) | {column: [cell] * 3})
    with pytest.raises(InputError) as refusal:
        load_vqa(tmp_path, transforms(), classes=3)
    assert f"vqav2_val.arrow, row 0: {message}" in str(refusal.value)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_an_answer_is_checked_like_any_other(tmp_path, label):
    columns = table(20)
    columns["answers"][7], columns["answer_labels"][7] = [[], []], [[0, 1], [label]]
    write_table(tmp_path / "vqav2_train.arrow", columns)
    write_table(tmp_path / "vqav2_val.arrow", table(3))
    with pytest.raises(InputError, match=f"row 7: answer label {label}"):
        load_vqa(tmp_path, transforms(), classes=3)


def test_a_new_head_has_a_class_for_every_label(tmp_path):
    columns = table(20)
    columns["answers"][7], columns["answer_labels"][7] = [[], []], [[0, 1], [8]]
    write_table(tmp_path / "vqav2_train.arrow", columns)
    assert answer_count(tmp_path) == 9
    columns["answer_labels"][7] = [[0, 1], [-2]]
    write_table(tmp_path / "vqav2_train.arrow", columns)
    with pytest.raises(InputError, match="row 7: answer label -2"):
        answer_count(tmp_path)


def test_too_few_images_to_hold_some_out(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(1))
    write_table(tmp_path / "vqav2_val.arrow", table(3))
    with pytest.raises(InputError, match="leaves no question for the split 'train'"):
        load_vqa(tmp_path, transforms(), classes=3)


def test_fingerprints_follow_the_content(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(20))
    write_table(tmp_path / "vqav2_val.arrow", table(3))
    first = load_vqa(tmp_path, transforms(), classes=3).train.describe()
    write_table(tmp_path / "vqav2_train.arrow", table(20) | {"split": ["other"] * 20})
    assert load_vqa(tmp_path, transforms(), classes=3).train.describe()["fingerprint"] != first["fingerprint"]


def test_scenes_are_the_same_for_the_same_seed(tmp_path):
    for name in ("a", "b"):
        write_scenes(tmp_path / name / "vqav2_train.arrow", 5, 48, seed=7)
    assert (tmp_path / "a" / "vqav2_train.arrow").read_bytes() == (tmp_path / "b" / "vqav2_train.arrow").read_bytes()


def test_answers_of_scenes_are_true_and_known():
    rng = np.random.default_rng(0)
    for _ in range(50):
        things = scene(rng)
        for question, answer in questions(things, rng):
            assert answer in ANSWERS
            if question == "how many things are there?":
                assert answer == ("zero", "one", "two", "three", "four")[len(things)]
            if question.startswith("is there a"):
                colour, shape = question.removesuffix("?").split()[-2:]
                there = any(t.colour == colour and t.shape == shape for t in things)
                assert answer == ("yes" if there else "no")
        assert Image.open(io.BytesIO(draw(things, 48, rng))).size == (48, 48)


def test_who_reads_only_the_question_stays_low(tmp_path):
    write_scenes(tmp_path / "vqav2_train.arrow", 400, 24, seed=0)
    write_scenes(tmp_path / "vqav2_val.arrow", 10, 24, seed=1)
    write_scenes(tmp_path / "vqav2_test.arrow", 100, 24, seed=2)
    data = load_vqa(tmp_path, transforms(), classes=len(ANSWERS))
    assert 0.2 < question_only_floor(data.train, data.evaluation) < 0.45


def test_the_floor_is_what_its_definition_says(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(20))
    write_table(tmp_path / "vqav2_val.arrow", table(4))
    data = load_vqa(tmp_path, transforms(), classes=3)
    assert question_only_floor(data.train, data.evaluation) == pytest.approx((1.0 + 0.6) / 2)
