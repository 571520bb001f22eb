"""Comparing logits, and the batches that a comparison is made on."""

import json

import pytest
import torch

from compressor.errors import CheckFailed
from compressor.families import FAMILIES
from exporters.checks.parity import check, compare, parity_batches, parity_failure, record
from exporters.runtimes.runner import Bound, Runner
from tests.support.tiny_exports import full, samples

LOGITS = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0]])


class Answers(Runner):
    """Runs a function in place of a model."""

    name, output_names = "a function", ("logits",)

    def __init__(self, function):
        self.function = function

    def open(self):
        pass

    def close(self):
        pass

    def bind(self, inputs):
        left = {}
        return Bound(lambda: left.update(logits=self.function(inputs)), lambda: left)


def test_equal_logits_pass():
    found = compare(LOGITS, LOGITS, 1e-4)
    assert (found.status, found.max_abs_error, found.answer_agreement, found.tightest_tolerance) == ("passed", 0, 1, 0)


def test_errors_are_measured_in_logits():
    found = compare(LOGITS, LOGITS + torch.tensor([0.0, 0.0, 0.0012]), 0.01)
    assert found.status == "passed"
    assert found.max_abs_error == pytest.approx(0.0012, rel=1e-3)
    assert found.mean_abs_error == pytest.approx(0.0004, rel=1e-3)
    assert found.tightest_tolerance == 0.002


def test_one_logit_out_of_tolerance_fails():
    changed = LOGITS.clone()
    changed[1, 0] += 0.5
    found = compare(LOGITS, changed, 0.1)
    assert (found.status, found.answer_agreement, found.tightest_tolerance) == ("failed", 1, 0.5)
    assert "5.0e-01" in found.reason


def test_the_tolerance_grows_with_the_logits_where_it_is_relative():
    assert compare(LOGITS, LOGITS, 0.1).tolerance == 0.1
    assert compare(LOGITS, LOGITS, 0.1, relative=True).tolerance == pytest.approx(0.3)
    assert compare(LOGITS / 10, LOGITS / 10, 0.1, relative=True).tolerance == 0.1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("side", ["reference", "candidate", "both"])
def test_what_is_not_finite_never_passes(value, side):
    broken = LOGITS.clone()
    broken[0, 0] = value
    found = compare(LOGITS if side == "candidate" else broken, LOGITS if side == "reference" else broken, 1e9)
    assert found.status == "failed"
    assert "not finite" in found.reason
    json.loads(found.model_dump_json())


def test_another_shape_fails():
    assert compare(LOGITS, LOGITS[:1], 1.0).status == "failed"  # it would broadcast


def test_answers_differ_inside_the_tolerance_only_where_the_reference_is_nearly_tied():
    torch.manual_seed(0)
    reference = torch.randn(4000, 5) * 0.05
    candidate = reference + (torch.rand_like(reference) - 0.5) * 0.02
    found = compare(reference, candidate, 0.01)
    assert found.status == "passed"
    assert 0.5 < found.answer_agreement < 1
    differing = (reference.argmax(-1) != candidate.argmax(-1)).nonzero().flatten()
    best = reference.topk(5).values
    chosen = reference.gather(1, candidate.argmax(-1, keepdim=True))[:, 0]
    assert ((best[differing, 0] - chosen[differing]) <= 2 * 0.01).all()


def test_batches_cover_every_row_and_end_with_the_shortest_text_trimmed():
    made = parity_batches(full(), samples(), (1, 2, 8))
    assert [tuple(batch["input_ids"].shape) for batch in made] == [
        (1, 12),
        (2, 12),
        (8, 12),
        (1, 3),
    ]  # odd, as 12 is even
    assert made[-1]["attention_mask"].all()
    assert torch.equal(made[-1]["pixel_values"][0], samples()["pixel_values"][2])
    many = {
        "input_ids": torch.arange(20)[:, None].expand(-1, 6),
        "attention_mask": torch.ones(20, 6, dtype=torch.int64),
    }
    made = parity_batches(full(), many, (1, 2, 8))
    assert [len(batch["input_ids"]) for batch in made] == [1, 2, 8, 8, 8, 1]
    assert {int(row) for batch in made for row in batch["input_ids"][:, 0]} == set(range(20))
    assert made[-1]["input_ids"].shape[1] == 3  # nothing to trim: cut in half


def test_check_runs_both_on_the_same_batches():
    logits = Answers(lambda inputs: inputs["pixel_values"].flatten(1)[:, :5])
    found = check(FAMILIES["meter"], logits, logits, parity_batches(full(), samples(), (1, 2, 3)), 1e-4)
    assert (found.status, found.samples) == ("passed", 1 + 2 + 3 + 1)
    assert (found.batch_sizes, found.text_lengths, found.image_sizes) == ((1, 2, 3), (3, 12), ((64, 64),))


def test_check_fails_a_runtime_that_forgets_rows():
    whole = Answers(lambda inputs: inputs["pixel_values"].flatten(1)[:, :5])
    first = Answers(lambda inputs: inputs["pixel_values"].flatten(1)[:1, :5])
    assert check(FAMILIES["meter"], whole, first, parity_batches(full(), samples(), (1, 2, 3)), 1e-4).status == "failed"


def test_the_record_says_what_was_compared_and_how_to_go_on():
    parity = record("a runtime", "fp32", compare(LOGITS, LOGITS + 1, 1e-4), ("torch", "no-such"))
    assert parity.versions == {"torch": torch.__version__.split("+")[0], "no-such": "not installed"} | {
        "torch": parity.versions["torch"]
    }
    error = parity_failure(parity, "model.onnx")
    assert isinstance(error, CheckFailed)
    assert error.codes == ("parity-failed",)
    assert "1e+00 would pass" in str(error)


def test_of_a_model_that_merges_tokens_a_few_samples_may_be_off_by_more():
    many = LOGITS[:1].repeat(40, 1)
    few, more = many.clone(), many.clone()
    few[:2, 1], more[:3, 1] = many[:2, 1] + 0.5, many[:3, 1] + 0.5
    assert compare(many, few, 0.1).status == "failed"
    passed = compare(many, few, 0.1, undecided=0.05)
    assert (passed.status, passed.max_abs_error, passed.tightest_tolerance) == ("passed", 0.5, 0)
    assert compare(many, more, 0.1, undecided=0.05).status == "failed"
    assert compare(many[:1], few[:1], 0.1, undecided=0.05).status == "failed"  # never all of them
    few[0, 1] += 0.2  # 0.7: more than 30 % of the largest logit
    assert "merged otherwise do not explain" in compare(many, few, 0.1, undecided=0.05).reason
