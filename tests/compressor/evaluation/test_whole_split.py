"""A score of a whole split: what evaluation, remarks, flips, comparisons and certificates say of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from compressor.data.baselines import Baseline
from compressor.data.splits import Split, UnlabelledSplit, WholeData
from compressor.data.types import Records, Sample, Transforms
from compressor.errors import UsageError
from compressor.evaluation.answer_files import check_written
from compressor.evaluation.evaluate import collect_outputs, evaluate, pair_answers, parity_indices, share_agreed
from compressor.evaluation.remarks import remark_on
from compressor.evaluation.score import EveryAnswer, EveryScore
from compressor.tasks import TASKS
from compressor.tasks.measured import Measured, resample
from compressor.tasks.task import teacher_agreement
from exporters.checks.certificate import change_score, difference
from tests.support import tiny_models as tiny
from tests.support.numbered_texts import NumberedTexts

SAMPLES = 230


def largest_share(outputs, split):
    """Macro accuracy of the classes: no mean over samples."""
    right = (outputs.argmax(-1) == split.targets(range(len(split))).argmax(-1)).double().numpy()
    classes = split.targets(range(len(split))).argmax(-1).numpy()

    def macro(numbers):
        return float(np.mean([right[numbers][classes[numbers] == c].mean() for c in range(tiny.CLASSES)]))

    value, each = resample(macro, len(split))
    return Measured(value, each, len(split), {"accuracy": float(right.mean())})


WHOLE = replace(
    TASKS["text-classification"],
    metric="macro accuracy",
    measure=largest_share,
    sample_metric="accuracy",
    answers=lambda logits: logits > 0,
    baseline=Baseline("a constant guesser", lambda *_: 0.0),
)


def split_of(kind, tokens):
    texts = NumberedTexts(tokens, ("input_ids", "attention_mask", "token_type_ids"), tiny.LENGTH)
    samples = tuple(Sample(str(i), labels=(i % tiny.CLASSES,), scores=(1.0,)) for i in range(len(tokens)))
    return kind("val", Records((), samples), Transforms(texts, None), tiny.CLASSES, 0)


@pytest.fixture(scope="module")
def tokens():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, tiny.LENGTH + 1, SAMPLES)
    return [np.stack([generator.integers(5, tiny.VOCABULARY, n), np.ones(n), np.zeros(n)]).astype(int) for n in lengths]


@pytest.fixture(scope="module")
def found(tokens):
    split = split_of(Split, tokens)
    return [evaluate(tiny.model("bert", "text-classification", seed), split, WHOLE, batch_size=16) for seed in (0, 1)]


def test_the_score_is_what_the_task_makes_of_all_outputs_in_order(tokens, found):
    split, model = split_of(Split, tokens), tiny.model("bert", "text-classification")
    batch = split.batch(range(SAMPLES), full_length=True)
    targets = batch.pop("targets")
    with torch.inference_mode():
        logits = model(**batch)
    whole = largest_share(logits, split)
    torch.testing.assert_close(found[0].outputs, logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0].logits, logits[parity_indices(SAMPLES)], atol=1e-5, rtol=0)
    assert (found[0].score.value, found[0].score.margin) == (pytest.approx(whole.value), pytest.approx(whole.margin))
    assert found[0].score.parts == {"accuracy": pytest.approx(whole.parts["accuracy"])}
    assert torch.equal(found[0].answers, found[0].outputs > 0) and targets.shape == logits.shape
    torch.testing.assert_close(collect_outputs(model, split), logits, atol=1e-5, rtol=0)


def test_two_models_are_compared_by_what_the_units_contribute(found):
    pair = pair_answers(*found)
    assert isinstance(pair, EveryScore) and not isinstance(pair, EveryAnswer)
    change = found[1].score.value - found[0].score.value
    assert float((pair.slim_scores - pair.full_scores).mean()) == pytest.approx(change, abs=1e-6)
    same = (found[0].answers == found[1].answers).all(1).double().mean()
    assert share_agreed(*found) == pytest.approx(float(same))
    assert share_agreed(*(replace(entry, answers=torch.empty(0)) for entry in found)) is None


@pytest.mark.parametrize(("floor", "sentences"), [(0.0, 0), (0.9, 2)])
def test_a_model_is_remarked_on_where_a_constant_guesser_is_better(found, floor, sentences):
    said = remark_on(found[0], WHOLE, ("a", "b", "c"), floor)
    assert len(said) == sentences
    assert not said or "worse than a constant guesser, 90.00 %" in said[0]


def test_certificates_name_the_score_of_samples_and_the_answers_of_the_task():
    logits, changed = torch.tensor([[1.0, 2.0], [-1.0, 3.0]]), torch.tensor([[1.0, 2.0], [1.0, 3.0]])
    change = change_score(WHOLE, torch.eye(2), logits, changed)
    assert (change.metric, change.before, change.after) == ("accuracy", 0.5, 0.5)
    assert difference(logits, changed, WHOLE).answer_agreement == 0.5
    assert difference(logits, changed, replace(WHOLE, answers=None)).answer_agreement is None


def test_no_file_of_answers_is_written(tokens):
    data = WholeData(split_of(Split, tokens[:2]), None, (), (), "index", (), "GLUE")
    with pytest.raises(UsageError) as refused:
        check_written(data, WHOLE)
    assert refused.value.problems[0].code == "task-without-classes"


def test_what_the_full_model_returns_stays_with_its_sample(tokens):
    split, targets = split_of(UnlabelledSplit, tokens[:4]), torch.arange(12.0).reshape(4, 3)
    labelled = split.with_targets(targets)
    assert torch.equal(labelled.subset([3, 1]).targets([1]), targets[1:2])
    assert not split.targets([0]).isnan().any()
    assert teacher_agreement(WHOLE).metric == "macro accuracy with the full model"
