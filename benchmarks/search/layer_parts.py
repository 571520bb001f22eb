"""Layers taken apart: attention and feed-forward as steps of their own, each of which may be skipped by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from compressor.models.rounds import Round, Step
from compressor.models.steps import StepModel, TokenWise

Part = tuple[str, tuple[int, ...], nn.Module]
"""A name, the streams that it reads, by their place among those of its layer, and a module."""


class Call(nn.Module):
    """Calls a function of modules, which are registered so that they count as its own."""

    def __init__(self, call: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.call, self.parts = call, nn.ModuleList(modules)

    def forward(self, *streams: Tensor | None) -> Tensor:
        """Return what the function makes of the streams, (B, N, D)."""
        return self.call(*streams)


class TokenCall(Call, TokenWise):
    """The same where every token is computed from the same token alone."""


class Keep(nn.Module):
    """Returns streams as they are: under other names, for those that read them as they were."""

    def forward(self, *streams: Tensor) -> tuple[Tensor, ...]:
        """Return the streams."""
        return streams


def split_bert(block: Any) -> tuple[Part, ...]:
    """Return attention and feed-forward of a layer of BERT's layout."""
    layer = block.layer
    feed_forward = TokenCall(layer.feed_forward_chunk, layer.intermediate, layer.output)
    return (
        ("attention", (0, 1), Call(lambda x, mask: layer.attention(x, mask)[0], layer.attention)),
        ("feed-forward", (0,), feed_forward),
    )


def split_vit(block: Any) -> tuple[Part, ...]:
    """Return attention and feed-forward of a layer of ViT's layout, norms first."""
    layer = block.layer

    def attend(x: Tensor) -> Tensor:
        return x + layer.attention(layer.layernorm_before(x))[0]

    return (
        ("attention", (0,), Call(attend, layer.layernorm_before, layer.attention)),
        ("feed-forward", (0,), TokenCall(lambda x: x + layer.mlp(layer.layernorm_after(x)), layer.layernorm_after,
                                         layer.mlp)),
    )  # fmt: skip


def split_fusion(block: Any) -> tuple[Part, ...]:
    """Return self-attention, cross-attention and feed-forward of METER's co-attention."""
    feed_forward = TokenCall(block._feed_forward, block.intermediate, block.output)
    return (
        ("attention", (0, 2), Call(lambda x, mask: block.attention(x, x, mask), block.attention)),
        ("cross-attention", (0, 1, 3), block.crossattention),
        ("feed-forward", (0,), feed_forward),
    )


SPLITS: Mapping[str, Callable[[Any], tuple[Part, ...]]] = {"bert": split_bert, "vit": split_vit, "meter": split_fusion}


def split_layers(model: StepModel, layers: Collection[str]) -> tuple[StepModel, dict[str, tuple[str, ...]]]:
    """Return the same network with ``layers`` in parts, by the same weights, and the names of the parts of each."""
    parts = {name: SPLITS[model.family](model.blocks[name]) for name in layers}
    blocks: dict[str, nn.Module] = {name: block for name, block in model.blocks.items() if name not in parts}
    rounds: list[Round] = []
    for round_ in model.rounds:
        if not any(step.name in parts for step in round_):
            rounds.append(round_)
            continue
        for added, made in split_round(round_, parts):
            rounds.append(added)
            blocks |= made
    names = {name: tuple(f"{name}.{part}".replace(".", "-") for part, _, _ in found) for name, found in parts.items()}
    split = StepModel(model.family, model.task, model.dims, model.prologue, tuple(rounds), blocks, model.epilogue)
    return split.train(model.training), names


def split_round(round_: Round, parts: Mapping[str, Sequence[Part]]) -> Iterator[tuple[Round, dict[str, nn.Module]]]:
    """Yield the rounds that a round becomes, with the blocks of their steps."""
    written = {step.stream for step in round_}
    before = {name: f"{name}_before" for name in sorted(written)} if len(round_) > 1 else {}
    if before:
        keep = Step(f"keep-{round_[0].name}", tuple(before), tuple(before.values()), light=True)
        yield (keep,), {keep.name: Keep()}
    for step in round_:
        for part, places, module in parts[step.name]:
            names = [step.reads[place] for place in places]
            reads = tuple(before.get(name, name) if name != step.stream else name for name in names)
            one = replace(step, name=f"{step.name}-{part}", reads=reads, writes=(step.stream,))
            yield (one,), {one.name: module}
