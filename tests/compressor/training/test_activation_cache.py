"""What is encoded once, what is kept of it, and that it is what the models say of a batch at full length."""

from functools import cached_property

import numpy as np
import pytest
import torch

from compressor.data.batches import TrainingOrder
from compressor.data.splits import Split
from compressor.data.types import Records, Sample, Transforms
from compressor.families import FAMILIES
from compressor.models.steps import split_at_candidates
from compressor.models.surgery import make_plan, remove_layers
from compressor.training import activation_cache
from compressor.training.activation_cache import Encoded
from compressor.training.recovery import Recovery, encoder_of
from tests.support import tiny_models as tiny
from tests.support.numbered_texts import NumberedTexts

SAMPLES = 150
RECOVERY = Recovery(steps=3, batch_size=16, learning_rate=1e-3, seed=0)


class Bench:
    """A full and a slim model, and samples of texts of one to nine tokens; METER's have an image of noise."""

    def __init__(self, family, task, skipped):
        self.full = tiny.model(family, task)
        supernet = tiny.supernet(self.full, skipped)
        self.slim = remove_layers(self.full, make_plan(self.full, supernet.candidates)).requires_grad_(False)
        self.calls = 0
        self.full.epilogue.register_forward_hook(lambda *_: setattr(self, "calls", self.calls + 1))

    @cached_property
    def split(self):
        generator = np.random.default_rng(0)
        names = FAMILIES[self.full.family].names_of("text")
        lengths = generator.integers(1, tiny.LENGTH + 1, SAMPLES)
        tokens = [np.stack([generator.integers(5, 40, n), *[np.ones(n)] * (len(names) - 1)]) for n in lengths]
        if "token_type_ids" in names:
            for entry in tokens:
                entry[names.index("token_type_ids")] = 0
        samples = tuple(Sample(str(i), labels=(i % tiny.CLASSES,), scores=(1.0,)) for i in range(SAMPLES))
        texts = NumberedTexts([entry.astype(int) for entry in tokens], names, tiny.LENGTH)
        split = WithNoise if self.full.family == "meter" else Split
        return split("train", Records((), samples), Transforms(texts, None), tiny.CLASSES, 0)

    def encoded(self, **options):
        encode, unanswered = (encoder_of(self.slim, teacher, RECOVERY) for teacher in (self.full, None))
        return Encoded(self.split, encode, torch.device("cpu"), unanswered=unanswered, **options)

    def logits_of(self, encoded, numbers):
        """The slim model's and the full model's, of what was encoded."""
        batch = encoded.batch(numbers)
        _, varying = split_at_candidates(self.slim.rounds, self.slim.skipped)
        with torch.no_grad():
            return self.slim.epilogue(self.slim.advance(batch, varying)), batch["teacher"]

    def expected(self, numbers):
        inputs = self.split.inputs(numbers, full_length=True)
        with torch.no_grad():
            return self.slim(**inputs), self.full(**inputs)


class WithNoise(Split):
    def inputs(self, indices, full_length=False):
        images = [torch.randn(3, 36, 36, generator=torch.Generator().manual_seed(int(i))) for i in indices]
        return {**super().inputs(indices, full_length), "pixel_values": torch.stack(images)}


@pytest.fixture(
    scope="module",
    params=[
        ("bert", "text-classification", ["En2", "En4"]),
        ("roberta", "text-classification", ["En0"]),
        ("meter", "vqa", ["FL0", "FV3"]),  # of round 0 the slim model's FV0 is fixed, and the full model's is not
    ],
    ids=["bert", "roberta", "meter"],
)
def bench(request):
    return Bench(*request.param)


@pytest.mark.parametrize("kept", [None, ("teacher",), ()], ids=["everything", "answers", "nothing"])
def test_what_is_encoded_is_what_the_models_say_at_full_length(bench, kept):
    encoded = bench.encoded(kept=kept)
    numbers = np.random.default_rng(1).permutation(SAMPLES)[:40]
    for found, expected in zip(bench.logits_of(encoded, numbers), bench.expected(numbers), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    targets = encoded.batch(numbers)["targets"]
    assert torch.equal(targets, bench.split.targets(numbers))


@pytest.mark.parametrize(("kept", "again"), [(None, 0), (("teacher",), 0), ((), 1)])
def test_the_full_model_is_asked_once_where_its_answers_are_kept(bench, kept, again):
    encoded = bench.encoded(kept=kept)
    bench.calls = 0
    encoded.batch(np.arange(20))
    assert bench.calls == again


def test_samples_are_kept_without_the_padding_of_longer_ones(bench):
    encoded = bench.encoded()
    assert set(encoded.kept) == set(encoded.batch(np.arange(2)))
    shortest, longest = encoded.lengths.argmin(), encoded.lengths.argmax()
    stream = "text" if "text" in encoded.kept else "hidden"
    assert encoded.batch(np.array([shortest]))[stream].shape[1] < tiny.LENGTH
    assert encoded.batch(np.array([shortest, longest]))[stream].shape[1] == tiny.LENGTH
    assert encoded.sample_bytes <= encoded.largest_bytes


def test_only_samples_that_are_trained_on_are_encoded(bench):
    numbers = TrainingOrder(bench.split.lengths, 16, seed=0).samples(3)
    assert len(numbers) == 48
    bench.calls = 0
    encoded = bench.encoded(numbers=numbers)
    assert bench.calls == 1  # one chunk
    for found, expected in zip(bench.logits_of(encoded, numbers), bench.expected(numbers), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("free", "kept"), [(1e9, "everything"), (8e4, "answers"), (10, "nothing")])
def test_what_is_kept_depends_on_the_memory_that_is_free(bench, monkeypatch, free, kept):
    memory = type("Memory", (), {"available": free})
    monkeypatch.setattr(activation_cache.psutil, "virtual_memory", lambda: memory)
    found = bench.encoded().kept
    assert {"everything": len(found) > 1, "answers": found == ("teacher",), "nothing": found == ()}[kept]
