"""Texts without padding cost no attention mask in PyTorch."""

import pytest
import torch

from compressor.families import FAMILIES
from compressor.models.trims.simplify import trim
from exporters.runtimes.torch_runner import TorchRunner
from tests.support import tiny_models as tiny
from tests.support.tiny_exports import inputs_of

UNMASKED = [key for key in tiny.SIZES if FAMILIES[key[0]].unmasked]


@pytest.mark.parametrize(("family", "task"), [pytest.param(*key, id="-".join(key)) for key in UNMASKED])
def test_without_padding_the_answers_are_the_same_without_a_mask(family, task, monkeypatch):
    model = tiny.model(family, task, shallow=True).eval()
    inputs, name = inputs_of(model), FAMILIES[family].mask_of("text")
    masks, attend = [], torch.nn.functional.scaled_dot_product_attention

    def noting(*args, attn_mask=None, **options):
        masks.append(attn_mask)
        return attend(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", noting)
    for subject in (model, trim(model)):
        with TorchRunner(subject, "cpu") as runner:
            full = {**inputs, name: torch.ones_like(inputs[name])}
            with torch.no_grad():
                expected, padded = subject(**full), subject(**inputs)
            masks.clear()
            found = runner.run(full)
            assert family in ("mpnet", "deberta-v2", "modernbert") or (masks and all(mask is None for mask in masks))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(runner.run(inputs), padded, atol=1e-5, rtol=0)  # padding is masked as before


def test_a_family_that_needs_its_mask_keeps_it():
    model = tiny.model("vilt", "vqa", shallow=True).eval()
    inputs = {**inputs_of(model)}
    inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    assert FAMILIES["vilt"].without_idle_mask(inputs)["attention_mask"] is inputs["attention_mask"]
