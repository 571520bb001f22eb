"""Which layers stay float: those whose outputs int8 changes most, until the file answers as the model does."""

import pytest
import torch
from torch import nn

from exporters.graph.sensitivity import hold_back, quantise_until_passing, sensitivities


def test_sensitivities_are_what_int8_does_to_each_output():
    torch.manual_seed(0)
    model = nn.ModuleDict({"only": nn.Linear(16, 4)}).eval()
    model.forward = lambda x: model["only"](x)
    model["only"].weight.data.zero_()
    model["only"].weight.data[:, 0] = 1.0  # exact in int8
    model["only"].bias.data.zero_()
    x = torch.zeros(1, 16)
    x[0, :2] = torch.tensor([0.6, 127.0])  # steps of 1 where the range is symmetric: 0.6 becomes 1
    (error,) = sensitivities(model, {"x": x}, symmetric=True).values()
    assert error == pytest.approx((0.4 / 0.6) ** 2, rel=1e-4)
    (error,) = sensitivities(model, {"x": x}, symmetric=False).values()  # steps of 127 / 255: 0.498
    assert error == pytest.approx(((0.6 - 127 / 255) / 0.6) ** 2, rel=1e-3)
    model["only"].weight.data[:, 1], x[0, :2] = 1.2 / 127, torch.tensor([0.0, 127.0])
    (error,) = sensitivities(model, {"x": x}, symmetric=True).values()  # steps of 1 / 127: 8 bits
    assert error == pytest.approx((0.2 / 1.2) ** 2, rel=1e-4)
    (error,) = sensitivities(model, {"x": x}, symmetric=False).values()  # steps of 1 / 64: 7 bits
    assert error == pytest.approx(((127 / 64 - 1.2) / 1.2) ** 2, rel=1e-4)
    assert not model["only"]._forward_hooks


def test_sensitivities_of_embeddings_are_those_of_their_rows():
    model = nn.ModuleDict({"words": nn.Embedding(6, 4)}).eval()
    model.forward = lambda ids: model["words"](ids)
    with torch.no_grad():
        model["words"].weight.zero_()
        model["words"].weight[3, :2] = torch.tensor([127.0, 0.4])  # a row with steps of 1: 0.4 becomes 0
        model["words"].weight[4, :2] = torch.tensor([1.27, 0.4])  # and one with steps of 0.01, in which it is exact
    errors = sensitivities(model, {"ids": torch.tensor([[3, 0]])}, symmetric=False)
    assert errors == {"words": pytest.approx(0.4**2 / (127**2 + 0.4**2), rel=1e-4)}
    assert sensitivities(model, {"ids": torch.tensor([[4, 0]])}, symmetric=False)["words"] < 1e-9
    assert sensitivities(model, {"ids": torch.tensor([[3, 0]])}, symmetric=True) == errors


def test_the_worst_share_is_held_back():
    errors = {f"layer{number}": number / 100 for number in range(40)}
    assert hold_back(errors, 0) == ()
    assert hold_back(errors, 0.05) == ("layer39", "layer38")
    assert len(hold_back(errors, 0.06)) == 3


def test_more_is_held_back_until_it_passes():
    errors = {f"layer{number}": float(number) for number in range(20)}
    made, held = quantise_until_passing(lambda held: len(held), lambda made: made >= 2, lambda: errors)
    assert (made, held) == (2, ("layer19", "layer18"))
    made, held = quantise_until_passing(lambda held: len(held), lambda made: False, lambda: errors)
    assert (made, len(held)) == (4, 4)

    def never():
        raise AssertionError("nothing has to be held back")

    assert quantise_until_passing(lambda held: "made", lambda made: True, never) == ("made", ())
