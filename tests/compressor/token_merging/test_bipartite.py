"""Token merging against a reference written from the paper's formulas, one sample and one token at a time."""

from functools import partial

import pytest
import torch

from compressor.costs.macs import count_macs
from compressor.families import FAMILIES
from compressor.models.trims.simplify import trim
from compressor.token_merging.bipartite import merge_alike
from compressor.token_merging.merge_layers import set_merging
from profiles.macs.formula import apply_formula
from tests.support import tiny_models


def merged_by_hand(x, keys, sizes, count):
    """Merge tokens of one sample (N, D) with keys (heads, N, d) by loops: A are tokens 2, 4 ..., B are 1, 3 ..."""
    mean = keys.mean(0)

    def like(a, b):
        return float(mean[a] @ mean[b] / (mean[a].norm() * mean[b].norm()))

    pairs = []
    for a in range(2, len(x), 2):
        b = max(range(1, len(x), 2), key=partial(like, a))
        pairs.append((like(a, b), a, b))
    gone = {a: b for _, a, b in sorted(pairs, reverse=True)[:count]}
    tokens, new_sizes = [], []
    for n in [0, *(a for a in range(2, len(x), 2) if a not in gone), *range(1, len(x), 2)]:
        members = [n, *(a for a, b in gone.items() if b == n)]
        new_sizes.append(sum(float(sizes[m]) for m in members))
        tokens.append(sum(float(sizes[m]) * x[m] for m in members) / new_sizes[-1])
    return torch.stack(tokens), torch.tensor(new_sizes)


@pytest.mark.parametrize("tokens", [10, 7])
def test_merging_is_the_papers(tokens):
    torch.manual_seed(0)
    x, keys = torch.randn(3, tokens, 8), torch.randn(3, 2, tokens, 4)
    log_sizes, sizes = None, torch.ones(3, tokens)
    for count in (2, 1):
        wanted = [merged_by_hand(*of_one, count) for of_one in zip(x, keys, sizes, strict=True)]
        x, log_sizes = merge_alike(x, keys, log_sizes, count)
        sizes = torch.stack([new for _, new in wanted])
        torch.testing.assert_close(x, torch.stack([merged for merged, _ in wanted]), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(log_sizes, sizes.log()[:, None, None], atol=1e-6, rtol=1e-5)
        keys = torch.randn(3, 2, x.shape[1], 4)
    assert [torch.equal(*pair) for pair in zip(merge_alike(x, keys, log_sizes, 0), (x, log_sizes), strict=True)]


def vision_by_hand(layer, x, sizes, count):
    """One CLIP layer on (N, D): attention on keys that count by their size, merging, feed-forward."""
    attention, heads = layer.self_attn, layer.self_attn.num_heads
    normed = layer.layer_norm1(x)
    q, k, v = (
        projection(normed).unflatten(-1, (heads, -1)).transpose(0, 1)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = (q @ k.transpose(1, 2) / k.shape[-1] ** 0.5).exp() * sizes  # softmax(... + log s) is this, to sum 1
    mixed = (scores / scores.sum(-1, keepdim=True)) @ v
    x = x + attention.out_proj(mixed.transpose(0, 1).flatten(1))
    x, sizes = merged_by_hand(x, k, sizes, count)
    return x + layer.mlp(layer.layer_norm2(x)), sizes


@torch.no_grad()
def test_a_tower_that_merges_is_the_papers_and_is_counted_by_formula():
    full = tiny_models.model("meter", "vqa")
    batch = tiny_models.batch(full)
    inputs = {name: batch[name] for name in FAMILIES["meter"].input_names}
    model = set_merging(full, (3, 2))
    streams = model.prologue(**inputs)
    tower = [step for round_ in model.rounds for step in round_ if step.pool == "vision"]
    after = model.advance(streams, tuple((step,) for step in tower))
    for row, image in enumerate(streams["image"]):
        sizes = torch.ones(len(image))
        for name, count in (("VEn0", 3), ("VEn1", 2)):
            image, sizes = vision_by_hand(full.blocks[name], image, sizes, count)
        torch.testing.assert_close(after["image"][row], image, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(after["image_mask"][row, 0, 0], sizes.log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(trim(model)(**inputs), model(**inputs), atol=1e-5, rtol=1e-5)
    counted, terms = count_macs(model, inputs), apply_formula(model, inputs)
    assert counted.total == sum(term.macs for term in terms)
    assert counted.by_step["VEn1"] == sum(term.macs for term in terms if term.step == "VEn1")
