"""A training step in parts: the gradient of the whole batch for every task, in no more memory than it may take."""

from functools import partial

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import gelu, one_hot

from compressor.compression import compress
from compressor.settings import Settings
from compressor.tasks import TASKS
from compressor.tasks.losses import count_samples
from compressor.training import loss_in_parts
from compressor.training.activation_cache import ANSWER
from compressor.training.loss_in_parts import LossInParts, kept_per_byte
from compressor.training.recovery import mixed_loss, recovery_logits
from tests.support import tiny_models

SAMPLES, LENGTH, WIDTH, CLASSES = 7, 5, 6, 4


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64)


def tags():
    """Tags of words, and 0 at all other tokens: no two sentences have as many."""
    words = torch.arange(LENGTH) < torch.arange(SAMPLES)[:, None].clamp(1, LENGTH)
    return torch.where(words, torch.randint(1, CLASSES + 1, (SAMPLES, LENGTH)), 0)


def ranked():
    """Grades of passages, and their queries: one has its passages in several parts."""
    grades, queries = torch.tensor([1.0, 0, 0, 2, 1, 0, 0]), torch.tensor([0.0, 0, 0, 1, 1, 1, 2])
    return torch.stack([grades, queries], -1).double()


# By task, where it is no classification: shape of the logits, targets.
SHAPES = {
    "irtr": ((SAMPLES * 3, 1), lambda: one_hot(torch.zeros(SAMPLES, dtype=torch.long), 3).double()),
    "regression": ((SAMPLES, 1), lambda: drawn(SAMPLES, 1)),
    "reranking": ((SAMPLES, 1), ranked),
    "token-classification": ((SAMPLES, LENGTH, CLASSES), tags),
    "embedding": ((SAMPLES, WIDTH), lambda: drawn(SAMPLES, WIDTH)),
    "retrieval": ((SAMPLES, 2, WIDTH), lambda: drawn(SAMPLES, 2, WIDTH)),
    "zero-shot": ((SAMPLES, 2, WIDTH), lambda: drawn(SAMPLES, 2, WIDTH)),
}
CLASSIFIED = ((SAMPLES, CLASSES), lambda: one_hot(torch.arange(SAMPLES) % CLASSES, CLASSES).double())


def gradient(losses, trained):
    """The gradient of the weighted sum of losses, gone backward through one by one, and how many they are."""
    for parameter in trained:
        parameter.grad = None
    count = 0
    for loss, weight in losses:
        (weight * loss).backward()
        count += 1
    return torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None]), count


def of_task(task, terms):
    """The loss of a linear model, a batch of a task with the teacher's answers, and what is trained."""
    torch.manual_seed(0)
    shape, targets = SHAPES.get(task.name, CLASSIFIED)
    weight = drawn(WIDTH, shape[-1]).requires_grad_()
    batch = {"x": drawn(*shape[:-1], WIDTH), "targets": targets(), ANSWER: drawn(*shape)}

    def forward(batch):
        return gelu(batch["x"]) @ weight

    return LossInParts(forward, partial(mixed_loss, task), terms, kept=1.0), batch, [weight]


@pytest.mark.parametrize("name", TASKS)
def test_parts_have_the_gradient_of_the_whole_batch(name, monkeypatch):
    task = TASKS[name]
    losses, batch, trained = of_task(task, task.terms)
    whole, count = gradient(losses.of(batch, 0.25), trained)
    assert count == 1
    for size in (1, sum(value.nbytes for value in batch.values()) // 3):
        monkeypatch.setattr(loss_in_parts, "KEPT_BYTES", size)
        in_parts, count = gradient(losses.of(batch, 0.25), trained)
        assert count == 1 if task.terms is None else count > 2
        torch.testing.assert_close(in_parts, whole, atol=1e-12, rtol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_where_a_task_counts_no_samples_their_mean_is_another_gradient(name, monkeypatch):
    task = TASKS[name]
    losses, batch, trained = of_task(task, count_samples)
    whole, _ = gradient(losses.of(batch, 1.0), trained)
    monkeypatch.setattr(loss_in_parts, "KEPT_BYTES", 1)
    in_parts, _ = gradient(losses.of(batch, 1.0), trained)
    assert torch.allclose(in_parts, whole) == (task.terms is count_samples)


@pytest.mark.parametrize(("family", "task"), tiny_models.EVERY)
def test_every_stream_of_a_family_is_cut_between_samples(family, task, monkeypatch):
    model = tiny_models.model(family, task, shallow=True).double()
    supernet = tiny_models.supernet(model)
    model.double()
    trained = [parameter.requires_grad_() for parameter in supernet.adapters()]
    batch = {
        name: value.double() if value.is_floating_point() else value
        for name, value in tiny_models.batch(model, samples=5).items()
    }
    with torch.no_grad():
        streams = supernet.encode(batch)
    forward = partial(supernet.logits, skipped=supernet.candidates[:1])
    losses = LossInParts(forward, TASKS[task].loss, TASKS[task].terms, kept=1.0)
    whole, _ = gradient(losses.of(streams, 1.0), trained)
    monkeypatch.setattr(loss_in_parts, "KEPT_BYTES", 1)
    in_parts, count = gradient(losses.of(streams, 1.0), trained)
    assert count == 5 and whole.abs().max() > 0
    torch.testing.assert_close(in_parts, whole, atol=1e-12, rtol=1e-6)


def test_what_a_forward_pass_keeps_is_counted_without_the_weights():
    model = torch.nn.Linear(WIDTH, 3 * WIDTH, bias=False).requires_grad_(False)
    model.register_parameter("scale", torch.nn.Parameter(torch.ones(3 * WIDTH)))
    batch = {"x": torch.randn(8, WIDTH), "targets": torch.zeros(8, 2 * WIDTH)}

    def forward(batch):  # of a row it keeps what is multiplied by the scale, and what GELU is taken of
        return gelu(model(batch["x"]) * model.scale)

    assert kept_per_byte(model, forward, batch) == (3 + 3) / (1 + 2)
    with torch.no_grad():  # whatever surrounds it
        assert kept_per_byte(model, forward, batch) == 2


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
def test_no_part_keeps_more_than_it_may(family, monkeypatch):
    model = tiny_models.model(family, "text-classification")
    task, batch = TASKS["text-classification"], tiny_models.batch(model, samples=12)
    forward = partial(recovery_logits, model, None)
    one = {name: value[:1] for name, value in batch.items()}
    losses = LossInParts(forward, task.loss, task.terms, kept_per_byte(model, forward, one))

    def kept():
        """Bytes of what is kept of each part."""
        own, seen = {value.untyped_storage().data_ptr() for value in model.parameters()}, {}

        def note(value):
            storage = value.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
            return value.detach()

        with saved_tensors_hooks(note, lambda value: value):
            for loss, _ in losses.of(batch, 1.0):
                yield sum(seen.values())
                loss.backward()
                seen.clear()

    (everything,) = kept()
    for share in (2, 3, 7):
        monkeypatch.setattr(loss_in_parts, "KEPT_BYTES", everything // share)
        sizes = list(kept())
        assert share <= len(sizes) < 2 * share and max(sizes) <= everything / share


@pytest.mark.parametrize("strategy", ["auto", "das"])
def test_a_run_whose_steps_are_cut_has_the_same_weights(workshop, monkeypatch, strategy):
    asked = {"checkpoint": "meter.ckpt", "task": "vqa", "skip": 2, "scope": "FL0-2,FV0-2", "strategy": strategy}
    asked |= {"search_epochs": 0.5, "recover_epochs": 0.2, "batch_size": 48}
    whole, cut = compress(Settings(**asked, out="whole")), []
    of = LossInParts.of
    monkeypatch.setattr(loss_in_parts, "KEPT_BYTES", 1 << 20)
    monkeypatch.setattr(LossInParts, "of", lambda *given: cut.append(parts_of := [*of(*given)]) or parts_of)
    run = compress(Settings(**asked, out="cut"))
    assert min(map(len, cut)) > 1
    assert run.manifest.plan == whole.manifest.plan
    weights = run.load_slim().state_dict()
    for name, value in whole.load_slim().state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=0)
