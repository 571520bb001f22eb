"""Generated data: true, balanced, the same for the same seed, and readable as what it imitates."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from compressor.data.generated.questions import ANSWERS, ask_questions, write_scenes
from compressor.data.generated.scenes import COLOURS, SHAPES, Thing, draw_scene, render
from compressor.data.generated.statements import list_true_statements
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.read_data import read_data
from compressor.tasks import TASKS


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("task", [task.name for task in TASKS.values() if task.generated])
def test_the_same_seed_gives_the_same_files(tmp_path, task):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASKS[task].generated.write(tmp_path / name, 12, seed)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") != files_of(tmp_path / "c")


@pytest.mark.parametrize(
    ("task", "layout", "splits"),
    [
        ("vqa", "METER's VQA tables", {"train", "val", "test"}),
        ("nlvr2", "NLVR2's JSON lines", {"train", "val", "test"}),
        ("irtr", "Karpathy's JSON", {"train", "val", "test"}),
        ("snli-ve", "SNLI-VE's JSON lines", {"train", "val", "test"}),
        ("text-classification", "GLUE's SST-2", {"train", "val"}),
    ],
)
def test_it_is_read_as_the_public_format(tmp_path, task, layout, splits):
    TASKS[task].generated.write(tmp_path, 20, 0)
    found = read_data(tmp_path, task)
    assert (found.layout, set(found.splits)) == (layout, splits)
    for rows in found.splits.values():
        assert rows.samples
        assert not rows.unreadable
    sample = found.splits["train"].samples[0]
    assert len(sample.images) == {"nlvr2": 2, "text-classification": 0}.get(task, 1)
    for picture in sample.images:
        assert Image.open(io.BytesIO(picture.read())).size == (48, 48)


@pytest.mark.parametrize(("task", "most"), [("nlvr2", 0.7), ("snli-ve", 0.7)])
def test_the_text_alone_tells_little(tmp_path, task, most):
    TASKS[task].generated.write(tmp_path, 600, 0)
    votes = {}
    for sample in read_data(tmp_path, task).splits["train"].samples:
        votes.setdefault(sample.text, Counter())[sample.labels] += 1
    right = sum(max(found.values()) for found in votes.values())
    assert right / sum(found.total() for found in votes.values()) < most


def test_statements_are_what_they_say():
    left, right = [Thing("circle", "red", 0, 0)], [Thing("circle", "blue", 1, 1), Thing("square", "red", 2, 2)]
    assert list_true_statements(left, right) == {
        "the left image contains a red thing",
        "the left image contains a circle",
        "the right image contains a blue thing",
        "the right image contains a circle",
        "the right image contains a red thing",
        "the right image contains a square",
        "both images contain a red thing",
        "both images contain a circle",
    }


def test_no_two_images_of_a_split_have_the_same_caption(tmp_path):
    TASKS["irtr"].generated.write(tmp_path, 300, 0)
    rows = json.loads((tmp_path / "dataset.json").read_text())["images"]
    told = [frozenset(row["sentences"][0]["raw"].split(" and ")) for row in rows if row["split"] == "train"]
    assert len(set(told)) == len(told) == 300


@pytest.mark.parametrize(
    ("sentence", "label"),
    [
        ("the film is not good", "0"),
        ("the plot is never dull", "1"),
        ("the cast is very warm", "1"),
    ],
)
def test_sentiment_follows_the_last_clause(tmp_path, sentence, label):
    TASKS["text-classification"].generated.write(tmp_path, 6000, 0)
    rows = [line.split("\t") for line in (tmp_path / "train.tsv").read_text().splitlines()[1:]]
    found = [given for text, given in rows if text.endswith(f"{sentence} .")]
    assert found
    assert set(found) == {label}


def test_no_sentence_is_in_both_splits(tmp_path):
    TASKS["text-classification"].generated.write(tmp_path, 500, 0)
    train, dev = ((tmp_path / name).read_text().splitlines()[1:] for name in ("train.tsv", "dev.tsv"))
    assert (len(train), len(dev)) == (500, 100)
    assert not set(train) & set(dev)


def test_answers_of_scenes_are_true_and_known():
    rng = np.random.default_rng(0)
    for _ in range(50):
        things = draw_scene(rng)
        for question, answer in ask_questions(things, rng):
            assert answer in ANSWERS
            if question == "how many things are there?":
                assert answer == ("zero", "one", "two", "three", "four")[len(things)]
            if question.startswith("is there a"):
                colour, shape = question.removesuffix("?").split()[-2:]
                there = any(t.colour == colour and t.shape == shape for t in things)
                assert answer == ("yes" if there else "no")
        assert Image.open(io.BytesIO(render(things, 48, rng))).size == (48, 48)


def test_who_reads_only_the_question_stays_low(tmp_path):
    write_scenes(tmp_path / "vqav2_train.arrow", 400, 24, seed=0)
    write_scenes(tmp_path / "vqav2_val.arrow", 100, 24, seed=1)
    found = read_data(tmp_path, "vqa")
    votes = {}
    for sample in found.splits["train"].samples:
        votes.setdefault(sample.text, Counter())[sample.labels] += 1
    asked = found.splits["val"].samples
    right = sum(votes[s.text].most_common(1)[0][0] == s.labels for s in asked if s.text in votes)
    assert 0.2 < right / len(asked) < 0.45


def test_pictures_show_the_things():
    rng = np.random.default_rng(0)
    for colour, shape in ((colour, shape) for colour in COLOURS for shape in SHAPES):
        image = Image.open(io.BytesIO(render([Thing(shape, colour, 2, 0)], 48, rng)))
        assert image.getpixel((40, 9)) == COLOURS[colour]
        assert min(image.getpixel((8, 40))) >= 225


@pytest.mark.parametrize(
    ("style", "single", "pair", "types"),
    [
        ("<s>", [0, 4, 5, 2], [0, 4, 2, 2, 5, 2], [0] * 6),
        ("[CLS]", [2, 4, 5, 3], [2, 4, 3, 5, 3], [0, 0, 0, 1, 1]),
    ],
)
def test_word_tokenizers_wrap_as_their_models_do(style, single, pair, types):
    tokenizer = word_tokenizer(["Blue red"], style)
    assert tokenizer.encode("blue RED").ids == single
    assert tokenizer.encode("blue", "red").ids == pair
    assert tokenizer.encode("blue", "red").type_ids == types
