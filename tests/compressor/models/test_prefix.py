"""A prefix in front of keys and values, against attention written out; and that no trim forgets it."""

import pytest
import torch

from compressor.models.prefix import Prefix, attend
from compressor.models.trims.simplify import trim
from compressor.tuning.apply_method import apply_method
from compressor.tuning.methods import METHODS
from tests.support import tiny_models as tiny
from tests.support.tiny_exports import inputs_of

HEADS, WIDTH, LENGTH = 2, 6, 3


def written_out(query, key, value, own_key, own_value, valid):
    """Attention of each head over the rows of the prefix and the valid keys, one sample and head after the other."""
    rows = []
    for q, k, v, kept in zip(query, key, value, valid, strict=True):
        heads = []
        for h in range(q.shape[0]):
            part = slice(h * q.shape[2], (h + 1) * q.shape[2])
            keys, values = torch.cat([own_key[:, part], k[h][kept]]), torch.cat([own_value[:, part], v[h][kept]])
            heads.append((q[h] @ keys.T / q.shape[2] ** 0.5).softmax(-1) @ values)
        rows.append(torch.stack(heads))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["bool", "added", "none"])
def test_queries_attend_to_the_prefix_and_to_what_the_mask_lets_pass(kind):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, HEADS, 4, WIDTH // HEADS).unbind()
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    mask = {"bool": valid[:, None, None], "added": torch.where(valid, 0.0, -1e9)[:, None, None], "none": None}[kind]
    module = torch.nn.Module()
    module.prefix = Prefix(LENGTH, WIDTH)
    torch.nn.init.normal_(module.prefix.value)
    seen = valid if mask is not None else torch.ones_like(valid)
    expected = written_out(query, key, value, module.prefix.key, module.prefix.value, seen)
    torch.testing.assert_close(attend(module, query, key, value, mask), expected, atol=1e-6, rtol=0)


# The layout of BERT stands for its relatives; DistilBERT has one of its own.
@pytest.mark.parametrize("family", ["bert", "distilbert", "meter", "vilt"])
def test_the_attention_of_every_family_reads_its_prefix(family):
    model = tiny.model(family, "vqa" if family in ("meter", "vilt") else "text-classification", shallow=True)
    inputs = inputs_of(model)
    plain = model(**inputs)
    names = apply_method(model, METHODS["prefix"])
    prefixes = [module for module in model.modules() if isinstance(module, Prefix)]
    assert len(names) == 2 * len(prefixes) > 0
    with torch.no_grad():
        for prefix in prefixes:
            prefix.key.fill_(0)
            prefix.value.fill_(0)
        zero = model(**inputs)
        assert (zero - plain).abs().max() > 1e-3  # zeros weaken what attention gathers
        for prefix in prefixes:
            torch.nn.init.normal_(prefix.value)
        moved = model(**inputs)
        assert (moved - zero).abs().max() > 1e-2
        torch.testing.assert_close(trim(model)(**inputs), moved, atol=1e-5, rtol=0)


def test_a_library_layer_with_a_prefix_is_attention_written_out():
    model = tiny.model("roberta", "text-classification", shallow=True)
    apply_method(model, METHODS["prefix"])
    attention = model.blocks["En0"].layer.attention.self
    torch.nn.init.normal_(attention.prefix.value)
    torch.manual_seed(0)
    hidden, valid = torch.randn(2, 5, 48), torch.tensor([[True] * 5, [True, True, True, False, False]])

    def split(x):
        return x.unflatten(-1, (4, -1)).transpose(1, 2)

    projected = (split(projection(hidden)) for projection in (attention.query, attention.key, attention.value))
    expected = written_out(*projected, attention.prefix.key, attention.prefix.value, valid)
    found, _ = attention(hidden, valid[:, None, None])
    torch.testing.assert_close(found, expected.transpose(1, 2).flatten(2), atol=1e-5, rtol=0)
