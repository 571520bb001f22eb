"""What a search counts is what PyTorch's counter sees while it runs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compressor.costs.macs import count_macs
from compressor.models.supernet import Supernet
from compressor.models.surgery import make_plan, remove_layers
from compressor.search.cost import measure_costs
from compressor.search.loop import Spent
from profiles.macs.traced import count_traced
from tests.support import tiny_models as tiny

every = pytest.mark.parametrize(("family", "task"), tiny.EVERY)


def macs_of(call):
    """What PyTorch's own counter sees, which knows attention as two products, and no LayerNorm."""
    norms = 0

    def see(module, inputs, output):
        nonlocal norms
        norms += 5 * output.numel()

    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: see(module, inputs, output) if isinstance(module, torch.nn.LayerNorm) else None
    )
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        call()
    hook.remove()
    return counter.get_total_flops() // 2 + norms


def inputs_of(batch):
    return {name: value for name, value in batch.items() if name != "targets"}


def measured(family, task):
    model = tiny.model(family, task)
    supernet, batch = tiny.supernet(model), tiny.batch(model, samples=1)
    return supernet, batch, measure_costs(supernet, batch)


@every
def test_the_full_and_the_slim_model_cost_what_runs(family, task):
    supernet, batch, costs = measured(family, task)
    model = supernet.model
    assert costs.full == macs_of(lambda: model(**inputs_of(batch)))
    assert costs.fixed == macs_of(lambda: supernet.encode(batch))
    for skipped in (supernet.candidates[:1], supernet.candidates[1:], supernet.candidates):
        slim = remove_layers(model, make_plan(model, skipped))
        assert costs.fixed + costs.subset(skipped) == macs_of(lambda slim=slim: slim(**inputs_of(batch)))


@pytest.mark.parametrize(("family", "task"), [("meter", "nlvr2"), ("vilt", "irtr"), ("bert", "text-classification")])
def test_subsets_together_cost_what_runs(family, task):
    supernet, batch, costs = measured(family, task)
    with torch.inference_mode():
        streams = supernet.encode(batch)

    @given(st.sets(st.frozensets(st.sampled_from(supernet.candidates)), min_size=1, max_size=20))
    @settings(max_examples=30, deadline=None)
    def check(subsets):
        expected = macs_of(lambda: list(supernet.logits_of_all(streams, subsets)))
        assert costs.together(supernet.varying, subsets) == expected
        alone = sum(costs.subset(subset) for subset in subsets)
        assert expected <= alone
        assert len(subsets) > 1 or replace(costs, scoring={}).together(supernet.varying, subsets) == alone

    check()


@every
def test_the_count_is_that_of_the_reports(family, task):
    model = tiny.model(family, task)
    inputs = inputs_of(tiny.batch(model, samples=1))
    costs, counted = measure_costs(Supernet(model, model.layers[-2:]), inputs), count_macs(model, inputs)
    assert costs.full == counted.total == count_traced(model, inputs).total
    assert costs.steps == {name: counted.by_step[name] for name in costs.steps}


def test_what_was_spent_is_in_passes_of_the_full_model():
    _, _, costs = measured("bert", "text-classification")
    spent = Spent(costs)
    spent.add("scoring", costs.full, 10)
    spent.add("scoring", costs.full / 2, 4)
    spent.add("fitting", costs.full, 1)
    assert spent.forwards == {"scoring": pytest.approx(12), "fitting": pytest.approx(1)}
