"""What a checkpoint calls its classes."""

import pytest

from compressor.checkpoints.class_names import note_class_names, read_class_names
from compressor.errors import InputError
from tests.support.command_line import refused


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ()),
        ({"id2label": None, "label2id": None}, ()),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ()),
        ({"id2label": {"1": "pos", "0": "neg"}}, ("neg", "pos")),
        ({"id2label": {1: "pos", 0: "neg"}, "label2id": {"neg": 0, "pos": 1, "positive": 1}}, ("neg", "pos")),
        ({"id2label": ["neg", "pos"]}, ("neg", "pos")),
        ({"id2label": {"0": "neg", "2": "pos"}}, ("neg", "<class 1>", "pos")),
        ({"id2label": {"0": "LABEL_0", "1": "pos"}}, ("<class 0>", "pos")),
        ({"id2label": {"0": "neg", "2": "pos"}, "label2id": {"neutral": 1}}, ("neg", "neutral", "pos")),
        ({"label2id": {"pos": "1", "neg": 0}}, ("neg", "pos")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"pos": 1, "neg": 0}}, ("neg", "pos")),
        ({"id2label": {"0": "", "1": "yes"}}, ("", "yes")),  # the empty answer is one of VQA v2's
        ({"id2label": {"0": "1", "1": "10", "2": "2"}}, ("1", "10", "2")),
        ({"id2label": {"0": "same", "1": "same"}, "label2id": {"same": 1}}, ("same", "same")),
    ],
)
def test_each_name_keeps_its_number(config, names):
    assert read_class_names(config) == names


@pytest.mark.parametrize(
    "other", [{"neg": 1, "pos": 0}, {"negative": 0, "positive": 1}, {"neg": 0, "pos": 2}, {"neg": 0, "good": 1}]
)
def test_names_that_contradict_each_other(other):
    with refused(InputError, "class-names-contradict", "id2label", "label2id", "0 neg, 1 pos"):
        read_class_names({"id2label": {"0": "neg", "1": "pos"}, "label2id": other})


@pytest.mark.parametrize("number", ["a", -1, 0.5, None, 10**9])
def test_a_class_that_is_given_by_no_number(number):
    for config in ({"id2label": {number: "neg"}}, {"label2id": {"neg": number}}):
        with refused(InputError, "class-names-without-number", str(number)):
            read_class_names(config)


PAIR = {"0": "neg", "1": "pos"}


@pytest.mark.parametrize(
    ("config", "classes", "notes"),
    [
        ({}, 2, []),
        ({"id2label": PAIR}, 2, []),
        ({"id2label": PAIR, "num_labels": 2}, 2, []),
        ({"num_labels": 7}, 2, []),
        ({"id2label": {"0": "neg", "2": "pos"}}, 3, ["the checkpoint names 2 of 3 classes, not <class 1>"]),
        ({"id2label": PAIR}, 4, ["the checkpoint names 2 of 4 classes, not <class 2>, <class 3>"]),
        ({"label2id": {"neg": 0, "pos": 1}}, 2, ["the names of the classes are those of label2id; transformers"]),
        ({"id2label": PAIR, "num_labels": 3}, 2, ["the checkpoint's config says num_labels 3 and names 2 classes"]),
    ],
)
def test_what_the_user_is_told_of_the_names(config, classes, notes):
    found = note_class_names(config, classes)
    assert len(found) == len(notes)
    assert all(said.startswith(note) for said, note in zip(found, notes, strict=True))


def test_more_names_than_classes():
    with refused(InputError, "class-names-beyond-head", "names 2 classes (neg, pos)", "its head has 1"):
        note_class_names({"id2label": PAIR}, 1)
