"""Adapters that are solved for: what they recover, what they report, what they leave alone."""

import pytest
import torch
from torch.nn import functional as F

from compressor.models.adapters import SkipAdapter
from compressor.models.steps import valid_tokens
from compressor.search.block_influence import block_influence
from compressor.search.least_squares import Regression, fit_adapters
from tests.support import tiny_models as tiny

every = pytest.mark.parametrize(("family", "task"), tiny.EVERY)
WIDTH, RANK, ROWS = 24, 4, 3000


def rows(seed=0, number=ROWS):
    """Rows with correlated columns and a mean of their own."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(WIDTH, WIDTH, generator=generator)
    return torch.randn(number, WIDTH, generator=generator) @ mixing + torch.randn(WIDTH, generator=generator)


def fitted(x, y, rank=RANK):
    adapter, regression = SkipAdapter(WIDTH, rank), Regression(WIDTH)
    for part in range(0, len(x), 700):  # as batches come
        regression.add(x[part : part + 700], y[part : part + 700])
    return adapter, regression.solve(adapter)


def layer_of_rank(rank, seed=3):
    """A layer that adds a map of this rank of its normalised input."""
    generator = torch.Generator().manual_seed(seed)
    down, up = (torch.randn(*shape, generator=generator) for shape in ((WIDTH, rank), (rank, WIDTH)))
    shift = torch.randn(WIDTH, generator=generator)
    return lambda x: x + F.layer_norm(x, (WIDTH,)) @ down @ up + shift


def test_a_layer_that_is_a_map_of_the_adapters_rank_is_recovered(monkeypatch):
    monkeypatch.setattr("compressor.search.least_squares.RIDGE", 1e-9)
    x, layer = rows(), layer_of_rank(RANK)
    adapter, explained = fitted(x, layer(x))
    with torch.no_grad():
        torch.testing.assert_close(adapter(x), layer(x), atol=1e-3, rtol=1e-4)
        fresh = rows(0, ROWS + 200)[-200:]  # rows that were not fitted
        open_ = (adapter.down_proj(F.layer_norm(fresh, (WIDTH,))) > 0).all(-1)
        torch.testing.assert_close(adapter(fresh)[open_], layer(fresh)[open_], atol=1e-3, rtol=1e-4)
    assert explained == pytest.approx(1, abs=1e-5)


def test_the_ridge_costs_little():
    x, layer = rows(), layer_of_rank(RANK)
    adapter, explained = fitted(x, layer(x))
    assert 1 - 0.01 < explained < 1
    with torch.no_grad():
        assert (adapter(x) - layer(x)).square().mean() < 0.01 * (layer(x) - x).square().mean()


@pytest.mark.parametrize("rank", [1, 4, 12])
def test_the_reported_share_of_variance_is_the_one_measured(rank):
    x = rows()
    y = layer_of_rank(12)(x) + 2 * torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(5))
    adapter, explained = fitted(x, y, rank)
    update = y - x
    with torch.no_grad():
        left = (adapter(x) - y).square().sum() / (update - update.mean(0)).square().sum()
    assert explained == pytest.approx(1 - float(left), abs=2e-3)
    assert 0.05 < explained < 1


def test_no_other_map_of_the_rank_explains_more():
    x = rows()
    y = layer_of_rank(12)(x)
    adapter, _ = fitted(x, y)

    def error():
        with torch.no_grad():
            return float((adapter(x) - y).square().mean())

    best, generator = error(), torch.Generator().manual_seed(1)
    for _ in range(40):
        kept = {name: value.clone() for name, value in adapter.state_dict().items()}
        for parameter in (adapter.down_proj.weight, adapter.up_proj.weight):
            parameter.data += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():  # the best bias of the disturbed map
            adapter.up_proj.bias += (y - adapter(x)).mean(0)
        assert error() > best * (1 - 2e-3)
        adapter.load_state_dict(kept)


def test_the_units_of_the_bottleneck_are_open():
    x = rows()
    adapter, _ = fitted(x, layer_of_rank(12)(x))
    with torch.no_grad():
        units = adapter.down_proj(F.layer_norm(x, (WIDTH,)))
    assert (units > 0).double().mean() > 0.999
    assert (units.std(0) > 0.01).all()  # and say something


def test_a_layer_that_does_nothing_becomes_an_adapter_that_does_nothing():
    x = rows()
    adapter, explained = fitted(x, x)
    with torch.no_grad():
        torch.testing.assert_close(adapter(x), x)
    assert explained == pytest.approx(0, abs=1e-6)


def calibration(model, supernet, batches=4):
    with torch.no_grad():
        return [supernet.encode(tiny.batch(model, samples=6, seed=seed)) for seed in range(batches)]


def states(model):
    return {name: {k: v.clone() for k, v in adapter.state_dict().items()} for name, adapter in model.skips.items()}


@every
def test_padding_does_not_matter(family, task):
    model = tiny.model(family, task)
    supernet = tiny.supernet(model)
    clean = calibration(model, supernet)
    streams = sorted({step.stream for round_ in supernet.varying for step in round_ if step.pool})
    dirty = [dict(batch) for batch in clean]
    padded = 0
    for batch in dirty:
        for name in [name for name in ("text", "image", *streams) if name in batch]:
            real = valid_tokens(batch, name)
            padded += int((~real).sum())
            batch[name] = torch.where(real[..., None], batch[name], torch.full_like(batch[name], 7.0))
    assert padded
    explained = fit_adapters(supernet, clean)
    expected = states(model)
    assert fit_adapters(supernet, dirty) == pytest.approx(explained, abs=1e-4)
    for name, state in states(model).items():
        product, wanted = (s["up_proj.weight"] @ s["down_proj.weight"] for s in (state, expected[name]))
        torch.testing.assert_close(product, wanted, atol=1e-3, rtol=1e-2)
    assert block_influence(supernet, dirty) == pytest.approx(block_influence(supernet, clean), abs=1e-4)


@every
def test_valid_tokens_are_those_of_the_inputs(family, task):
    model = tiny.model(family, task)
    batch = tiny.batch(model, samples=2)
    with torch.no_grad():
        streams = model.prologue(**{name: value for name, value in batch.items() if name != "targets"})
    text = "text" if "text" in streams else "hidden"
    assert torch.equal(valid_tokens(streams, text), batch["attention_mask"].bool())


def error_behind(supernet, batches, skipped):
    """Mean squared difference of the full model's logits."""
    with torch.no_grad():
        pairs = [(supernet.logits(streams, skipped), supernet.logits(streams, ())) for streams in batches]
    return float(torch.stack([(ours - full).square().mean() for ours, full in pairs]).mean())


@every
def test_adapters_fitted_one_behind_the_other_make_up_for_each_other(family, task):
    model = tiny.model(family, task)
    supernet = tiny.supernet(model)
    batches = calibration(model, supernet, batches=12)
    skipped = supernet.candidates[::2]
    for name in skipped:
        torch.nn.init.zeros_(model.skips[name].up_proj.weight)
        torch.nn.init.zeros_(model.skips[name].up_proj.bias)
    removed = error_behind(supernet, batches, skipped)
    fit_adapters(supernet, batches)
    alone = error_behind(supernet, batches, skipped)
    explained = fit_adapters(supernet, batches, skipped)
    together = error_behind(supernet, batches, skipped)
    assert set(explained) == set(skipped)
    assert together < alone
    assert together < removed


def test_what_is_fitted_and_what_stays():
    model = tiny.model("meter", "vqa")
    supernet = tiny.supernet(model)
    batches, before = calibration(model, supernet), states(model)
    blocks = {name: value.clone() for name, value in model.blocks.state_dict().items()}
    explained = fit_adapters(supernet, batches, skipped=("FL0", "FL1", "FV2"), keep={"FL1"})
    moved = {name for name, state in states(model).items() if not torch.equal(*both(state, before[name]))}
    assert moved == set(explained) == {"FL0", "FV2"}
    assert all(torch.equal(value, blocks[name]) for name, value in model.blocks.state_dict().items())
    fit_adapters(supernet, batches, keep={"FV0"})
    moved = {name for name, state in states(model).items() if not torch.equal(*both(state, before[name]))}
    assert moved == set(supernet.candidates) - {"FV0"}


def both(state, other):
    return state["up_proj.weight"], other["up_proj.weight"]


def test_the_first_of_a_chain_is_fitted_as_by_itself():
    """Nothing in front of it has gone yet: what sequential fitting changes starts behind it."""
    model = tiny.model("bert", "text-classification")
    supernet = tiny.supernet(model)
    batches = calibration(model, supernet)
    fit_adapters(supernet, batches)
    alone = states(model)
    fit_adapters(supernet, batches, ("En1", "En3"))
    chained = states(model)
    assert torch.equal(*both(chained["En1"], alone["En1"]))
    assert not torch.equal(*both(chained["En3"], alone["En3"]))
    assert torch.equal(*both(chained["En2"], alone["En2"]))


def test_fitting_twice_gives_the_same():
    model = tiny.model("vilt", "nlvr2")
    supernet = tiny.supernet(model)
    batches = calibration(model, supernet)
    fit_adapters(supernet, batches)
    first = states(model)
    fit_adapters(supernet, batches)
    assert all(torch.equal(state[k], first[name][k]) for name, state in states(model).items() for k in state)


def test_influence_is_the_turn_of_the_stream():
    model = tiny.model("roberta", "text-classification")
    supernet = tiny.supernet(model, ["En2", "En4"])
    batches = calibration(model, supernet, batches=2)
    turns = {"En2": [], "En4": []}
    for streams in batches:
        x, mask = dict(streams), valid_tokens(streams, "hidden")
        for round_ in supernet.varying:
            after = model.advance(x, (round_,))
            name = round_[0].name
            if name in turns:
                turns[name].append(F.cosine_similarity(x["hidden"][mask], after["hidden"][mask], dim=-1))
            x = after
    expected = [1 - float(torch.cat(turns[name]).mean()) for name in supernet.candidates]
    assert block_influence(supernet, batches) == pytest.approx(expected, abs=1e-5)
