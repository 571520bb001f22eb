"""GLUE's metrics on numbers that one can check by hand, and in an evaluation."""

import numpy as np
import pytest
import torch

from compressor.data.splits import Split
from compressor.data.types import Records, Sample, Transforms
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.metrics import METRICS, f1, matthews
from compressor.tasks import TASKS
from tests.support.numbered_texts import NumberedTexts

ANSWERS = torch.tensor([1, 1, 0, 1, 0, 0])
TRUTH = torch.tensor([1, 0, 0, 1, 1, 0])  # 2 hits, 1 false alarm, 1 miss, 2 right rejections


def test_f1_of_the_positive_class():
    assert f1(ANSWERS, TRUTH) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert f1(torch.zeros(6), TRUTH) == 0


def test_matthews_correlation():
    assert matthews(ANSWERS, TRUTH) == pytest.approx((2 * 2 - 1 * 1) / 9)
    assert matthews(TRUTH, TRUTH) == 1
    assert matthews(1 - TRUTH, TRUTH) == -1
    assert matthews(torch.zeros(6), TRUTH) == 0


class Parrot(torch.nn.Module):
    """Answers with the class that the token says."""

    family = "bert"

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.scale * torch.nn.functional.one_hot(input_ids[:, 0], 2)


def split():
    names = ("input_ids", "attention_mask", "token_type_ids")
    text = NumberedTexts([np.full((3, 1), number) for number in (0, 1)], names)
    pairs = zip(ANSWERS.tolist(), TRUTH.tolist(), strict=True)
    samples = tuple(Sample(str(said), labels=(so,), scores=(1.0,)) for said, so in pairs)
    return Split("val", Records((), samples), Transforms(text, None), 2, 0)


def test_an_evaluation_reports_the_metrics_of_the_dataset():
    found = evaluate(Parrot(), split(), TASKS["text-classification"], metrics=tuple(METRICS), batch_size=4).score
    assert found.value == pytest.approx(4 / 6)
    assert found.parts == {"F1": f1(ANSWERS, TRUTH), "Matthews correlation": matthews(ANSWERS, TRUTH)}
