"""What the numbers of classes mean."""

import pytest
import torch

from compressor.data.labels import align_labels, check_new_head
from compressor.data.read_data import read_data
from compressor.data.types import RawDataset, Records, Sample
from compressor.errors import InputError
from compressor.evaluation.metrics import METRICS
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import png, put

TEXT, VQA, NLVR2 = TASKS["text-classification"], TASKS["vqa"], TASKS["nlvr2"]


def labelled(*labels):
    return Records((), tuple(Sample(str(i), labels=(label,), scores=(1.0,)) for i, label in enumerate(labels)))


def found(names, *labels, **more):
    return RawDataset("x", {"train": labelled(*labels)}, names, **more)


def numbers(of):
    return [sample.labels for sample in of.splits["train"].samples]


def test_classes_are_numbered_as_the_model_numbers_them():
    moved = align_labels(found(("negative", "positive"), 0, 1), ("POSITIVE", "NEGATIVE"), TEXT)
    assert (numbers(moved), moved.labels) == ([(1,), (0,)], ("POSITIVE", "NEGATIVE"))


@pytest.mark.parametrize("name", ["text-classification", "image-classification", "token-classification", "nlvr2"])
def test_a_new_head_needs_two_classes(name):
    check_new_head(found(("a", "b"), 0, 1, 0), TASKS[name])
    for names, label in ((("a",), 0), (("a", "b"), 1)):
        with refused(InputError, "one-class", f"of one class, {names[label]}"):
            check_new_head(found(names, label, label), TASKS[name])


@pytest.mark.parametrize("name", ["multi-label-classification", "regression", "reranking", "irtr"])
def test_a_new_head_that_chooses_no_class_needs_no_other(name):
    check_new_head(found(("a",), 0, 0), TASKS[name])


def test_the_f1_is_of_the_same_class_whatever_its_number():
    given = found(("not_equivalent", "equivalent"), 0, 1, metrics=("f1",))
    turned = align_labels(given, ("EQUIVALENT", "NOT_EQUIVALENT"), TEXT)
    answers, truth = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    scored = [METRICS[name].value(answers, truth) for name in turned.metrics]
    same = align_labels(given, ("Not_equivalent", "Equivalent"), TEXT)
    assert scored == [METRICS[name].value(1 - answers, 1 - truth) for name in same.metrics] == [0.8]


def test_numbers_in_files_count_where_the_model_has_its_own_names():
    given = found(("negative", "positive"), 0, 1, numbers_in_files=True)
    taken = align_labels(given, ("spam", "ham"), TEXT)
    assert (numbers(taken), taken.labels) == ([(0,), (1,)], ("spam", "ham"))
    assert numbers(align_labels(given, ("POSITIVE", "NEGATIVE"), TEXT)) == [(1,), (0,)]
    with refused(InputError, "classes-named-otherwise"):
        align_labels(given, ("ham", "spam", "other"), TEXT)


def test_numbers_are_those_of_a_model_that_has_names_for_them():
    moved = align_labels(found(("0", "1"), 0, 1), ("POSITIVE", "NEGATIVE"), TEXT)
    assert (numbers(moved), moved.labels) == ([(0,), (1,)], ("POSITIVE", "NEGATIVE"))


STARS = ("1", "2", "3", "4", "5")
TEXT_ORDER = tuple(sorted(map(str, range(12))))


@pytest.mark.parametrize(
    ("labels", "used", "names", "expected"),
    [
        (("0", *STARS), (1, 3, 5), STARS, [(0,), (2,), (4,)]),
        (("0", *STARS), (1, 3), tuple(f"LABEL_{star}" for star in STARS), [(0,), (2,)]),
        (tuple(map(str, range(12))), (2, 10), TEXT_ORDER, [(4,), (2,)]),
        (TEXT_ORDER, (4, 2), tuple(map(str, range(12))), [(2,), (10,)]),
        (TEXT_ORDER, (4, 2), tuple("abcdefghijkl"), [(4,), (2,)]),
        (("negative", "positive"), (0, 1), ("1", "0"), [(1,), (0,)]),
        (("0", "1"), (0, 1), ("True", "False"), [(1,), (0,)]),
        (("False", "True"), (0, 1), ("0.0", "1.0"), [(0,), (1,)]),
    ],
)
def test_names_that_are_numbers_decide_before_numbers(labels, used, names, expected):
    assert numbers(align_labels(found(labels, *used), names, TEXT)) == expected


@pytest.mark.parametrize(
    ("labels", "used", "names"),
    [
        (STARS, (0, 4), ("0", "1", "2", "3", "4")),  # 1 to 5 for 0 to 4
        (("0", *STARS), (0, 4), STARS),
        (("1 star", "2 stars"), (0, 1), STARS),
        (("-1", "0", "1"), (0, 1, 2), ("negative", "neutral", "positive")),
        (("0", "1", "2"), (0, 1, 2), ("0", "1", "other")),
    ],
)
def test_numbers_that_are_counted_otherwise_are_not_guessed(labels, used, names):
    with refused(InputError, "classes-named-otherwise", "the model names its classes"):
        align_labels(found(labels, *used, numbered_here="-1" in labels), names, TEXT)


def test_a_class_that_does_not_occur_needs_no_name():
    moved = align_labels(found(("neutral", "negative", "positive"), 1, 2), ("positive", "negative"), TEXT)
    assert numbers(moved) == [(1,), (0,)]


@pytest.mark.parametrize("names", [("negative", "positive"), ("negative", "neutral", "positive")])
@pytest.mark.parametrize("own", [("aneg", "zpos"), ("neg", "positive")])
def test_a_class_that_the_model_has_no_name_for_is_an_error(names, own):
    with pytest.raises(InputError, match="the model names its classes negative"):
        align_labels(found(own, 0, 1), names, TEXT)


def test_answers_that_the_model_does_not_know_are_dropped_and_counted():
    moved = align_labels(found(("yes", "purple"), 0, 1, 1), ("no", "yes"), VQA)
    assert (numbers(moved), moved.splits["train"].dropped) == ([(1,)], 2)


def test_answers_are_no_numbers():
    moved = align_labels(found(("3", "1", "1.0"), 0, 1, 2), ("1", "2", "3", "yes"), VQA)
    assert (numbers(moved), moved.splits["train"].dropped) == ([(2,), (0,)], 1)


def test_answers_that_are_one_to_the_model_are_one():
    sample = Sample("what?", labels=(0, 1), scores=(0.3, 0.9))
    moved = align_labels(RawDataset("x", {"train": Records((), (sample,))}, ("Yes", "yes")), ("no", "yes"), VQA)
    assert [(s.labels, s.scores) for s in moved.splits["train"].samples] == [((1,), (0.9,))]


def test_names_in_an_order_of_their_own_need_a_checkpoint_that_names_its_classes():
    given = found(("bad", "good"), 0, 1, numbered_here=True)
    with pytest.raises(InputError, match="does not say what its classes are called"):
        align_labels(given, (), TEXT)
    assert align_labels(given, ("good", "bad"), TEXT).labels == ("good", "bad")
    assert align_labels(given, (), TEXT, own_head=False) is given


def test_a_new_head_takes_the_numbers_of_the_data():
    given = found(("x", "y"), 0, 1)
    assert align_labels(given, ("O", "x", "b", "c", "y"), TEXT, own_head=False) is given


def test_classes_without_names_do_not_stand_in_the_way_of_names(tmp_path):
    put(tmp_path / "train.jsonl", [{"question": "a?", "image": "a.png", "answer": "red"}])
    put(tmp_path / "answers.txt", "red\nblue\n")
    put(tmp_path / "a.png", png())
    found = read_data(tmp_path, "vqa")
    assert align_labels(found, ("<class 0>", "<class 1>"), TASKS["vqa"]) is found
