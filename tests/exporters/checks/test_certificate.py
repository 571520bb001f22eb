"""Certificates: what an export's logits are off by, what that costs in score, and on which samples that was found."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
import torch

from compressor.device import cpu_instructions
from compressor.errors import UsageError
from compressor.evaluation.evaluate import evaluate, parity_indices
from compressor.evaluation.open_data import open_data
from compressor.evaluation.reference import Reference, open_reference
from compressor.families import FAMILIES
from compressor.progress import QUIET
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from exporters.checks.certificate import certify, difference
from exporters.graph.inputs import VARYING, Fixed
from exporters.graph.metadata import embed
from exporters.graph.precision import PRECISIONS
from exporters.runtimes.runner import Refused
from exporters.runtimes.sessions import OnnxRunner
from exporters.runtimes.torch_runner import TorchRunner
from tests.support.command_line import refused
from tests.support.tiny_exports import facts_in, full, full_onnx, samples

INT8, FP32 = PRECISIONS["int8"], PRECISIONS["fp32"]


def logits():
    with TorchRunner(full(), "cpu") as runner:
        return runner.run(samples()).clone()


def reference(slim, targets=None):
    return Reference(
        samples=len(slim),
        inputs=lambda rows: {name: values[[row % 3 for row in rows]] for name, values in samples().items()},
        slim=slim,
        full=slim,
        targets=targets,
        task=TASKS["vqa"],
        family=FAMILIES["meter"],
        fingerprint="abc",
    )


def certified(known, precision=FP32, fixed=VARYING, tolerance=1e-4, batch=8, undecided=0.0):
    with OnnxRunner(full_onnx(), threads=1) as onnx_runner, TorchRunner(full(), "cpu") as ours:
        return certify(onnx_runner, ours, known, batch, tolerance, precision, fixed, QUIET, undecided)


def test_errors_of_two_sets_of_logits():
    ours = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    found = difference(ours, ours + torch.tensor([[0.0, 0.0], [0.0, 1.0]]), TASKS["vqa"])
    assert (found.max_abs_error, found.mean_abs_error, found.scale) == (1.0, 0.25, 4.0)
    assert found.p99_abs_error == pytest.approx(np.percentile([0, 0, 0, 1], 99))
    assert found.cosine == pytest.approx((9 + 12) / (5 * 18**0.5))
    assert found.answer_agreement == 1.0
    assert difference(ours, ours.flip(1), TASKS["vqa"]).answer_agreement == 0.0
    assert difference(ours[:, :1], ours[:, :1], TASKS["irtr"]).answer_agreement is None


def test_an_export_that_answers_as_the_model_does_passes():
    found = certified(reference(logits()))
    assert found.passed
    assert found.samples == 3
    assert found.instructions == cpu_instructions()
    assert found.against_slim.max_abs_error <= found.tightest_tolerance <= found.tolerance == 1e-4
    assert found.against_full == found.against_slim
    assert found.metric is None
    assert found.fingerprint == "abc"


def test_vectors_of_an_export_are_sought_in_the_full_models_index():
    found = certified(replace(reference(logits()), task=TASKS["embedding"]))
    assert found.passed and found.index.full_on_full == found.index.slim_on_full == 1
    assert (found.index.queries, found.index.documents) == (3, 3)
    assert certified(replace(reference(logits()), task=TASKS["embedding"], full=None)).index is None


def test_answers_that_are_not_known_are_asked_for():
    found = certified(replace(reference(logits()), slim=None, full=None))
    assert found.passed
    assert 0 < found.against_slim.max_abs_error < 1e-5
    assert found.against_full is None


def test_logits_beyond_the_tolerance_fail():
    off = logits()
    off[1, 2] += 0.55
    found = certified(reference(off))
    assert "an output is 5.5e-01 off" in found.reason
    assert found.tightest_tolerance == pytest.approx(0.6)  # rounded up


def test_below_fp32_the_tolerance_grows_with_the_logits():
    off = logits()
    off[1, 2] += 0.5
    scale = float(off.abs().max())
    assert certified(reference(off), INT8, tolerance=0.6 / scale).tolerance == pytest.approx(0.6)
    assert certified(reference(off), INT8, tolerance=0.6 / scale).passed
    assert not certified(reference(off), INT8, tolerance=0.4 / scale).passed


def test_a_quantised_export_may_not_lose_score_beyond_chance():
    """200 samples of which the export gets half right; the model got all, or one more, of them right."""
    answers = logits().repeat(67, 1)[:200]
    wrong = answers.flip(1)  # largest logits elsewhere
    targets = torch.nn.functional.one_hot(answers.argmax(1), answers.shape[1]).float()
    lost = certified(reference(answers, targets), INT8, tolerance=99)
    assert lost.passed
    assert lost.metric.change == 0
    known = replace(reference(answers), targets=torch.nn.functional.one_hot(wrong.argmax(1), answers.shape[1]).float())
    assert not certified(replace(known, slim=wrong), INT8, tolerance=99).passed
    assert certified(replace(known, slim=wrong), FP32, tolerance=99).passed  # what is not quantised is judged by logits
    one = torch.cat([wrong[:1], answers[1:]])
    by_chance = certified(replace(known, slim=one), INT8, tolerance=99)
    assert by_chance.metric.change == pytest.approx(-1 / 200)
    assert by_chance.passed


def test_where_tokens_are_merged_a_few_samples_may_be_beyond_but_the_score_holds():
    answers = logits().repeat(34, 1)[:100]
    off, rows = answers.clone(), range(0, 15, 3)  # one sample again and again
    off[rows] = answers[rows].flip(1)
    largest = float((off - answers).abs().max())
    judge = partial(certified, tolerance=0.6 * largest)  # none may be beyond twice as much
    right = torch.nn.functional.one_hot(answers.argmax(1), answers.shape[1]).float()
    assert not judge(reference(off)).passed
    found = judge(reference(off), undecided=0.05)
    assert found.passed and (found.beyond, found.may_be_beyond) == (5, 5)
    assert found.tightest_tolerance <= 1e-4 < found.against_slim.max_abs_error
    assert "in 5 samples" in judge(reference(off), undecided=0.04).reason
    assert "in 5 samples" in certified(reference(off), tolerance=0.4 * largest, undecided=0.05).reason
    gained = judge(reference(off, right), undecided=0.05)
    assert gained.passed and gained.metric.change == pytest.approx(0.05)
    wrong = torch.nn.functional.one_hot(off.argmax(1), off.shape[1]).float()
    lost = judge(reference(off, wrong), undecided=0.05)
    assert lost.metric.change == pytest.approx(-0.05)
    assert "falls by 5.00 points" in lost.reason


def test_samples_that_a_fixed_graph_cannot_take_are_left_out():
    lengths = samples()["attention_mask"].sum(1)
    fits = int((lengths <= 8).sum())
    assert 0 < fits < 3
    found = certified(reference(logits()), fixed=Fixed(text_length=8))
    assert found.samples == fits
    assert found.note == f"{3 - fits} texts of more than 8 tokens left out"
    assert found.fingerprint != certified(reference(logits())).fingerprint  # other samples
    with refused(UsageError, "texts-too-long", "3 texts", "1 tokens"):
        certified(reference(logits()), fixed=Fixed(text_length=1))


class OfOneSize(TorchRunner):
    """The model, as an export that takes batches of one size only."""

    def __init__(self, batch):
        super().__init__(full(), "cpu")
        self.batch = batch

    def bind(self, inputs):
        assert len(inputs["input_ids"]) == self.batch
        return super().bind(inputs)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_every_batch_is_of_the_size_that_was_asked_for(batch):
    with OfOneSize(batch) as theirs, TorchRunner(full(), "cpu") as ours:
        found = certify(theirs, ours, reference(logits()), batch, 1e-4, FP32, VARYING, QUIET)
    assert (found.samples, found.passed) == (3, True)
    assert found.against_slim.max_abs_error < 1e-5


class Broken(TorchRunner):
    """The model, with a number that is none for the second sample."""

    def run(self, inputs):
        answers = super().run(inputs).clone()
        answers[1, 0] = float("nan")
        return answers


def test_logits_that_are_no_numbers_are_refused():
    with (
        Broken(full(), "cpu") as theirs,
        TorchRunner(full(), "cpu") as ours,
        refused(Refused, "logits-not-finite", "1 of 3"),
    ):
        certify(theirs, ours, reference(logits()), 8, 1e-4, FP32, VARYING, QUIET)


def test_metadata_names_the_graph_it_is_for(tmp_path):
    path = tmp_path / "model.onnx"
    shutil.copy(full_onnx(), path)
    digest = embed(path, {"certificate": "{}"})
    assert facts_in(path) == {"certificate": "{}", "graph": digest}
    assert embed(path, {"certificate": "another"}) == digest
    onnx.checker.check_model(str(path))
    model = onnx.load(path)
    model.graph.node[3].name = "tampered"
    onnx.save(model, path)
    assert embed(path, {}) != digest


def test_the_digest_of_a_graph_covers_the_weights_beside_it(tmp_path):
    path, data = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    model = onnx.load(full_onnx())
    onnx.save(model, path, save_as_external_data=True, location=data.name)
    digest = embed(path, {})
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)
    assert embed(path, {}) != digest


def test_a_run_keeps_what_both_models_answered(shared_run, shared_workshop):
    known, split = shared_run.answers(), open_data(shared_run, str(shared_workshop / "data")).evaluation
    numbers = parity_indices(len(split))
    assert known["numbers"].tolist() == numbers.tolist()
    assert len(numbers) == min(200, len(split))
    part = split.subset(numbers)
    for which, model in (("full", shared_run.load_full()), ("slim", shared_run.load_slim())):
        torch.testing.assert_close(known[which], evaluate(model, part, TASKS["vqa"]).logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(known["targets"], split.targets(numbers))
    kept = shared_run.samples()
    torch.testing.assert_close(kept["input_ids"], split.inputs(numbers)["input_ids"][: len(kept["input_ids"])])


def test_samples_come_from_the_data_or_from_the_folder(run_here, workshop):
    run = open_run(run_here)
    found = open_reference(run)
    assert (found.samples, found.note) == (200, "")
    assert found.inputs([0, 199])["input_ids"].shape[0] == 2
    named = open_reference(run, str(workshop / "data"))
    assert (named.slim, named.full) == (None, None)  # answers belong to the data they were given on
    assert named.fingerprint == found.fingerprint
    manifest = json.loads((run_here / "manifest.json").read_text())
    (run_here / "manifest.json").write_text(json.dumps({**manifest, "data_root": str(workshop / "gone")}))
    (workshop / "data").rename(workshop / "elsewhere")
    alone = open_reference(open_run(run_here))
    assert "the data is not at hand" in alone.note
    assert alone.samples == len(run.samples()["input_ids"])
    torch.testing.assert_close(alone.slim, found.slim[: alone.samples])


def test_data_that_has_changed_is_not_compared_with_old_answers(run_here, workshop):
    manifest = json.loads((run_here / "manifest.json").read_text())
    for split in manifest["data"]:
        split["fingerprint"] = "of another day"
    (run_here / "manifest.json").write_text(json.dumps(manifest))
    assert "has changed" in open_reference(open_run(run_here)).note
