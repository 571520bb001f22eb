"""Every way an epilogue may read its streams: what it reads, and that trims compute all that is read."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.families import FAMILIES
from compressor.models.adapters import SkipAdapter
from compressor.models.readout import read_tokens
from compressor.models.steps import Step, StepModel, TokenWise, steps_of
from compressor.models.supernet import Supernet
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import OneToken, trim
from tests.support import tiny_models as tiny

READOUTS = ("first", "last", "mean", "all")
WIDTH, TOKENS = 4, 5
MASK = torch.arange(TOKENS) < torch.tensor([[5], [3], [1]])


class Reading(nn.Module):
    """An epilogue that reads streams as declared; of all tokens it takes a product that no other has."""

    def __init__(self, readout):
        super().__init__()
        self.readout = readout

    def forward(self, streams):
        tokens = [read_tokens(streams, name, readout) for name, readout in self.readout.items()]
        weighted = [(x * torch.arange(1, x.shape[1] + 1)[:, None]).mean(1) for x in tokens]
        return torch.cat([nn.functional.layer_norm(x, x.shape[1:]) for x in weighted], -1)


def reads(model, readout, monkeypatch):
    """The model with an epilogue that reads its streams in another way, which its family declares."""
    family = FAMILIES[model.family]
    named = dict.fromkeys(family.readout(model.dims, model.task), readout)
    monkeypatch.setitem(FAMILIES, model.family, replace(family, readout=lambda dims, task: named))
    model.epilogue = Reading(named)
    return model


@pytest.mark.parametrize("masks", ["none", "bool", "added", "own"])
def test_what_is_read_has_no_padding(masks):
    x = torch.arange(3.0 * TOKENS * WIDTH).reshape(3, TOKENS, WIDTH)
    named = {
        "none": {},
        "bool": {"mask": MASK[:, None, None]},
        "added": {"mask": torch.where(MASK, 0.0, -1e4)},
        "own": {"x_mask": MASK, "mask": torch.zeros(3, TOKENS, dtype=torch.bool)},
    }[masks]
    lengths = [TOKENS] * 3 if masks == "none" else [5, 3, 1]
    first, last, mean, whole = (read_tokens({"x": x, **named}, "x", readout) for readout in READOUTS)
    assert torch.equal(first, x[:, :1]) and torch.equal(whole, x)
    assert torch.equal(last[:, 0], torch.stack([row[length - 1] for row, length in zip(x, lengths, strict=True)]))
    expected = torch.stack([row[:length].mean(0) for row, length in zip(x, lengths, strict=True)])
    torch.testing.assert_close(mean[:, 0], expected)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(("family", "task"), [
    ("meter", "vqa"), ("meter", "nlvr2"), ("meter", "irtr"), ("vilt", "vqa"), ("vilt", "nlvr2"),
    ("roberta", "text-classification"), ("bert", "text-classification"),
])  # fmt: skip
def test_every_subset_of_a_real_model_answers_the_same(family, task, readout, monkeypatch):
    model = reads(tiny.model(family, task, shallow=True), readout, monkeypatch)
    tiny.supernet(model)
    inputs = {name: value for name, value in tiny.batch(model).items() if name != "targets"}
    for size in range(len(model.layers) + 1):
        for layers in combinations(model.layers, size):
            slim = remove_layers(model, make_plan(model, layers)) if layers else model
            with torch.no_grad():
                expected, trimmed = slim(**inputs), trim(slim)
                torch.testing.assert_close(trimmed(**inputs), expected, atol=1e-5, rtol=0)
            one_token = any(isinstance(block, OneToken) for block in trimmed.blocks.values())
            assert one_token == (readout in ("first", "last"))


class Mix(nn.Module):
    """Each token and the mean of another stream's; can compute one token alone."""

    def __init__(self):
        super().__init__()
        self.own, self.other = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, other):
        return torch.tanh(self.own(x) + self.other(other).mean(1, keepdim=True))

    def one_token(self, pick, x, other):
        return torch.tanh(self.own(pick(x)) + self.other(other).mean(1, keepdim=True))


class Whole(Mix):
    """The same, and all tokens or none."""

    one_token = property()  # hasattr is False


class Both(Mix):
    """Writes two streams, and reads both."""

    def forward(self, x, other):
        return torch.tanh(self.own(x) + self.other(other)), torch.tanh(self.own(other) - self.other(x))


class Project(TokenWise):
    """Each token by itself."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.tanh(self.own(x))


class Shorten(nn.Module):
    """A mask without the last valid token, if there are two."""

    def forward(self, mask):
        return mask & (torch.arange(mask.shape[1]) < (mask.sum(1, keepdim=True) - 1).clamp(min=1))


class Streams(nn.Module):
    """Streams ``a`` with a mask of its own, ``b`` with the shared one, and ``c``."""

    def forward(self, x):
        return {"a": x, "b": x.flip(1), "c": -x, "a_mask": MASK, "mask": MASK.roll(1, 0)}


KINDS = {"mix": Mix, "whole": Whole, "both": Both, "project": Project, "skip": lambda: SkipAdapter(WIDTH, 2)}


@st.composite
def step_models(draw):
    """Models of up to six rounds of any steps, and a readout for one to three streams."""
    rounds, blocks = [], {}
    for number in range(draw(st.integers(1, 6))):
        names = draw(st.permutations(["a", "b", "c"]))
        if draw(st.integers(0, 4)) == 0:
            mask = draw(st.sampled_from(["a_mask", "mask"]))
            steps = [(Step(f"{number}m", (mask,), (mask,)), Shorten())]
            own = draw(st.sampled_from(["a", "b", "c"]))
            steps += [(Step(f"{number}s", (own,), (own,)), Project())] if draw(st.booleans()) else []
        else:
            kinds = [draw(st.sampled_from(sorted(KINDS))) for _ in range(draw(st.integers(1, 2)))]
            steps = []
            for at, kind in enumerate(kinds):
                if kind == "both" and len(kinds) > 1:
                    kind = "mix"
                own, other = names[at], names[at + 1]
                reads = (own,) if kind in ("project", "skip") else (own, other)
                writes = (own, other) if kind == "both" else (own,)
                steps.append((Step(f"{number}{at}", reads, writes, skipped=kind == "skip"), KINDS[kind]()))
        rounds.append(tuple(step for step, _ in steps))
        blocks |= {step.name: block for step, block in steps}
    streams = draw(st.sets(st.sampled_from(["a", "b", "c"]), min_size=1))
    readout = {name: draw(st.sampled_from(READOUTS)) for name in sorted(streams)}
    return tuple(rounds), blocks, readout


@given(step_models(), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_any_model_answers_the_same_when_it_is_trimmed(parts, seed):
    rounds, blocks, readout = parts
    torch.manual_seed(seed)
    model = StepModel("synthetic", "", None, Streams(), rounds, blocks, Reading(readout)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, TOKENS, WIDTH)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setitem(FAMILIES, "synthetic", replace(FAMILIES["bert"], readout=lambda dims, task: readout))
        trimmed = trim(model)
        torch.testing.assert_close(trimmed(x=x), model(x=x), atol=1e-5, rtol=0)
        torch.testing.assert_close(trim(trimmed)(x=x), model(x=x), atol=1e-5, rtol=0)


def two_streams():
    """A model whose layers each write both of its streams."""
    torch.manual_seed(0)
    rounds = tuple((Step(f"En{i}", ("a", "b"), ("a", "b"), "encoder"),) for i in range(3))
    blocks = {f"En{i}": nn.Sequential() for i in range(3)}
    for name in blocks:
        blocks[name] = Both()
        blocks[name].norm = nn.LayerNorm(WIDTH)  # surgery reads the width of the stream off it
    return StepModel("bert", "text-classification", None, Streams(), rounds, blocks, Reading({"a": "all", "b": "all"}))


def test_a_skipped_layer_of_two_streams_adapts_its_own_and_leaves_the_other(monkeypatch):
    monkeypatch.setitem(
        FAMILIES, "bert", replace(FAMILIES["bert"], inputs=(replace(FAMILIES["bert"].inputs[0], name="x"),))
    )
    model, x = two_streams(), torch.randn(3, TOKENS, WIDTH)
    supernet = Supernet(model, model.layers)
    for adapter in model.skips.values():
        nn.init.normal_(adapter.up_proj.weight)
    streams = supernet.encode({"x": x})
    assert [step.name for step in steps_of(supernet.varying)] == ["En0", "En1", "En2"]
    subsets = [frozenset(layers) for size in range(4) for layers in combinations(model.layers, size)]
    together = dict(supernet.logits_of_all(streams, subsets))
    for subset in subsets:
        slim = remove_layers(model, make_plan(model, sorted(subset))) if subset else model
        with torch.no_grad():
            torch.testing.assert_close(slim(x=x), supernet.logits(streams, subset))
        torch.testing.assert_close(slim(x=x), together[subset])
        assert all(step.writes == (("a",) if step.skipped else ("a", "b")) for step in steps_of(slim.rounds))
