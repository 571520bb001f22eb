"""Scores of a model in batches of like length: each sample has the answer that it has alone at full length."""

import numpy as np
import pytest
import torch

from compressor.data.splits import Split
from compressor.data.types import Records, Sample, Transforms
from compressor.evaluation.evaluate import evaluate, parity_indices
from compressor.tasks import TASKS
from tests.support import tiny_models as tiny
from tests.support.numbered_texts import NumberedTexts

TASK = TASKS["text-classification"]
SAMPLES = 230  # more than the logits that are kept


@pytest.fixture(scope="module", params=["bert", "roberta"])
def model(request):
    return tiny.model(request.param, "text-classification")


@pytest.fixture(scope="module")
def split(model):
    generator = np.random.default_rng(0)
    names = ("input_ids", "attention_mask", "token_type_ids")
    lengths = generator.integers(1, tiny.LENGTH + 1, SAMPLES)
    tokens = [np.stack([generator.integers(5, tiny.VOCABULARY, n), np.ones(n), np.zeros(n)]) for n in lengths]
    samples = tuple(Sample(str(i), labels=(i % tiny.CLASSES,), scores=(1.0,)) for i in range(SAMPLES))
    texts = NumberedTexts([entry.astype(int) for entry in tokens], names, tiny.LENGTH)
    return Split("val", Records((), samples), Transforms(texts, None), tiny.CLASSES, 0)


def test_every_sample_has_the_answer_it_has_at_full_length(model, split):
    found = evaluate(model, split, TASK, batch_size=16)
    batch = split.batch(range(SAMPLES), full_length=True)
    assert batch["input_ids"].shape == (SAMPLES, tiny.LENGTH)
    with torch.inference_mode():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **types(model, batch))
    assert found.answers.tolist() == logits.argmax(-1).tolist()
    assert found.expected.tolist() == [i % tiny.CLASSES for i in range(SAMPLES)]
    assert found.scores.tolist() == TASK.scores(logits, batch).tolist()
    assert found.score.loss == pytest.approx(float(TASK.loss(logits, batch)), abs=1e-5)
    torch.testing.assert_close(found.logits, logits[parity_indices(SAMPLES)], atol=1e-5, rtol=0)


def test_batches_have_texts_of_like_length(model, split):
    seen = []
    hook = model.prologue.register_forward_hook(
        lambda _, __, given, ___: seen.append(given["attention_mask"].clone()), with_kwargs=True
    )
    evaluate(model, split, TASK, batch_size=16)
    hook.remove()
    assert sum(mask.numel() for mask in seen) < 1.1 * split.lengths.sum()
    assert all(mask[:, -1].any() for mask in seen)


def types(model, batch):
    return {"token_type_ids": batch["token_type_ids"]} if model.family == "bert" else {}
