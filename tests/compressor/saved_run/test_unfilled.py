"""Models that are built to be filled from a file: nothing is drawn, and what no file holds is there."""

import pytest
import torch
from torch import nn

from compressor.families import FAMILIES
from compressor.saved_run.unfilled import Unfilled
from tests.support import tiny_models as tiny


def test_layers_are_not_drawn():
    before = torch.get_rng_state()
    with Unfilled():
        layers = nn.Linear(3, 2), nn.Embedding(4, 2, padding_idx=1), nn.Conv2d(1, 2, 3), nn.LayerNorm(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert [tuple(layer.weight.shape) for layer in layers] == [(2, 3), (4, 2), (2, 1, 3, 3), (2,)]
    nn.init.ones_(layers[0].weight)
    assert layers[0].weight.sum() == 6


@pytest.mark.parametrize(("family", "task"), [pytest.param(*kind, id="-".join(kind)) for kind in tiny.SIZES])
def test_filled_it_is_the_model(family, task):
    drawn = tiny.model(family, task)
    with Unfilled():
        built = FAMILIES[family].build(drawn.dims, task)
    built.load_state_dict(drawn.state_dict(), assign=True)
    buffers = dict(built.named_buffers())
    assert buffers.keys() == dict(drawn.named_buffers()).keys()
    for name, value in drawn.named_buffers():
        assert torch.equal(buffers[name], value), name
    given = tiny.batch(drawn)
    inputs = {name: given[name] for name in FAMILIES[family].input_names if name in given}
    with torch.inference_mode():
        ours, theirs = (model.eval()(**inputs) for model in (built, drawn))
    for one, other in zip(*([x] if torch.is_tensor(x) else x for x in (ours, theirs)), strict=True):
        assert torch.equal(one, other)
