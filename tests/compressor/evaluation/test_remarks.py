"""A model that answers worse than a guesser, or with its classes numbered otherwise, is remarked on before any work."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.evaluation.evaluate import Evaluation
from compressor.evaluation.remarks import remark_on
from compressor.evaluation.score import Score
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from profiles.reports.build_report import build_report
from profiles.reports.sentences import describe_result
from tests.support.command_line import das

SENTENCES = TASKS["text-classification"]


def evaluation(answers, expected, scores=None):
    """An evaluation of these answers; right where they are the expected ones, if nothing else is said."""
    answers, expected = torch.tensor(answers), torch.tensor(expected)
    scores = (answers == expected).double() if scores is None else torch.tensor(scores, dtype=torch.float64)
    score = Score(metric="accuracy", value=float(scores.mean()), margin=0.0, samples=len(answers), loss=1.0)
    return Evaluation(score, answers, torch.zeros(1, 2), expected, scores)


def draws(classes, samples, seed=0):
    return np.random.default_rng(seed).integers(classes, size=samples).tolist()


def test_two_classes_the_other_way_round():
    expected = [0] * 40 + [1] * 60  # in order, as tables often are
    first, second = remark_on(evaluation([1 - label for label in expected], expected), SENTENCES, ("bad", "good"))
    assert first == "accuracy 0.00 % of the model is worse than always giving 1 (good), 60.00 %."
    assert "otherwise 100.00 % of its answers would be right" in second
    assert "the model's 0 (bad) is the data's 1 (good), the model's 1 (bad)" not in second
    assert "the model's 1 (good) is the data's 0 (bad)" in second
    assert "the model's 0 (bad) is the data's 1 (good)" in second


def test_twelve_classes_in_the_order_of_their_digits_as_text():
    """Four of them keep their place, so that the model is better than any guesser."""
    order = sorted(range(12), key=str)
    expected = draws(12, 240)
    (remark,) = remark_on(evaluation([order.index(label) for label in expected], expected), SENTENCES, CLASSES)
    assert "100.00 %" in remark and "the model's 3 is the data's 11" in remark and "and 6 more" in remark


CLASSES = tuple(f"<class {number}>" for number in range(12))


@settings(max_examples=40, derandomize=True)
@given(st.permutations(range(6)), st.integers(0, 50))
def test_any_numbering_is_found_through_mistakes(order, seed):
    expected, wrong = draws(6, 200, seed), random.Random(seed)
    answers = [order[label] if wrong.random() < 0.7 else wrong.randrange(6) for label in expected]
    remarks = remark_on(evaluation(answers, expected), SENTENCES, CLASSES[:6])
    moved = [(order[label], label) for label in range(6) if order[label] != label]
    assert bool(moved) == bool(remarks)
    named = [(ours, theirs) for ours, theirs in moved if f"model's {ours} is the data's {theirs}" in remarks[-1]]
    assert len(named) == min(4, len(moved))


@settings(max_examples=60, derandomize=True)
@given(st.integers(2, 12), st.integers(1, 300), st.integers(0, 10**6))
def test_a_weak_model_is_not_said_to_number_its_classes_otherwise(classes, samples, seed):
    right, expected, other = (
        draws(10, samples, seed),
        draws(classes, samples, seed + 1),
        draws(classes, samples, seed + 2),
    )
    answers = [truth if luck < 3 else any_ for luck, truth, any_ in zip(right, expected, other, strict=True)]
    assert not any("numbered" in remark for remark in remark_on(evaluation(answers, expected), SENTENCES, CLASSES))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([1, 1, 1], [0, 0, 1]), ([0] * 5, [1] * 5), ([0], [0])],
    ids=["three samples", "five samples", "one sample"],
)
def test_nothing_is_said_of_what_chance_explains(answers, expected):
    assert remark_on(evaluation(answers, expected), SENTENCES, ("a", "b")) == ()


def test_a_model_below_the_guesser_that_learnt_from_the_texts():
    expected = draws(2, 400)
    some = [label if number % 2 else 1 - label for number, label in enumerate(expected)]
    assert remark_on(evaluation(some, expected), TASKS["nlvr2"], ("False", "True")) == ()
    first, second = remark_on(evaluation(some, expected), TASKS["nlvr2"], ("False", "True"), floor=0.7)
    assert "worse than statement-only guesser, 70.00 %" in first and "belong together" in second


def test_a_synonym_that_has_credit_is_no_other_numbering():
    """Two of VQA's answers to a question are equally right; the model gives the one, the data names the other."""
    expected, answers = [0, 1] * 50, [2, 1] * 50
    assert remark_on(evaluation(answers, expected, scores=[1.0] * 100), TASKS["vqa"], ("sofa", "no", "couch")) == ()


@pytest.mark.parametrize(
    ("expected", "said"),
    [([0] * 90 + [1] * 10, True), ([0, 1] * 50, True), ([0] * 100, False), ([0] * 99 + [1], False), ([0, 1], False)],
)
def test_one_answer_to_all_samples(expected, said):
    first = f"The model gives all {len(expected)} samples the same answer, 0 (bad)."
    wanted = (first, "Check that checkpoint, tokenizer and data belong together.") if said else ()
    assert remark_on(evaluation([0] * len(expected), expected), SENTENCES, ("bad", "good")) == wanted


def test_two_answers_are_not_one():
    expected = [0] * 90 + [1] * 10
    assert remark_on(evaluation([0] * 99 + [1], expected), SENTENCES, ("bad", "good")) == ()


@pytest.mark.parametrize(("hits", "said"), [(0, True), (2, False), (20, False)])
def test_retrieval_worse_than_chance(hits, said):
    expected = [number // 5 for number in range(500)]
    scores = [1.0] * hits + [0.0] * (500 - hits)
    remarks = remark_on(
        evaluation([(image + 1) % 100 for image in expected], expected, scores), TASKS["irtr"], ("match",)
    )
    assert bool(remarks) == said
    assert not said or "worse than chance, 1.00 %" in remarks[0]


@pytest.fixture
def rolled(workshop):
    """The workshop's model with its classes numbered otherwise: each is the next one's number."""
    content = torch.load("meter.ckpt", weights_only=True)
    for name in ("vqa_classifier.3.weight", "vqa_classifier.3.bias"):
        content["state_dict"][name] = content["state_dict"][name].roll(1, 0)
    torch.save(content, "meter.ckpt")
    return workshop


def test_a_compression_says_it_and_so_do_manifest_and_report(rolled):
    told = das("compress", "meter.ckpt", "--task", "vqa", "--layers", "FL1", "--recover", "none", "--json")
    assert told.exit_code == 0, told.stderr
    run = open_run()
    first, second = run.manifest.results.remarks
    assert "is worse than" in first and "of its answers would be right: the model's" in second
    assert tuple(json.loads(told.stdout)["remarks"]) == run.manifest.results.remarks
    assert describe_result(build_report(run))[:2] == (first, second)
    said = " ".join(told.stderr.split())
    assert said.index(f"warning: {first}") < said.index(f"warning: {second}")
    for page in ("report.md", "report.html"):
        assert "numbered otherwise" in (run.path / page).read_text()


def test_an_evaluation_and_a_search_say_it_too(rolled):
    told = das("eval", "meter.ckpt", "--json")
    remark = json.loads(told.stdout)["remarks"][-1]
    assert "classes numbered otherwise" in remark and f"warning: {remark}" in " ".join(told.stderr.split())
    assert "classes numbered otherwise" in " ".join(das("search", "meter.ckpt", "--skip", 1).stderr.split())


def test_nothing_is_said_of_a_sound_model(workshop):
    told = das("eval", "meter.ckpt", "--json")
    assert json.loads(told.stdout)["remarks"] == []
    assert "warning" not in told.stderr
