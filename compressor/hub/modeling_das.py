"""Models of transformers with the adapters of Dynamic Architecture Skipping (arXiv 2309.01479).

``DasBertForSequenceClassification`` is transformers' ``BertForSequenceClassification`` in which adapters stand in place
of some layers, or beside layers; so for every other class of the library. ``das_adapters`` in config.json says where:

    layers         path of the model's list of layers, "bert.encoder.layer"
    in_place_of    number of a layer -> bottleneck of the adapter in its place, 0 where nothing is
    beside         bottlenecks of the adapters beside every other layer: one for the whole of it, or one for each half

This file needs torch and transformers, 4 or 5, and nothing else.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args

import torch
import transformers
from torch import Tensor, nn

PREFIX, SUFFIX = "Das", "Config"


class Adapter(nn.Module):
    """A bottleneck, A(x) = up(relu(down(norm(x)))), (B, N, width) -> (B, N, width)."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.adapter_layer_norm_before = nn.LayerNorm(width, eps=1e-5)
        self.down_proj = nn.Linear(width, bottleneck)
        self.up_proj = nn.Linear(bottleneck, width)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return A(x)."""
        return self.up_proj(torch.relu(self.down_proj(self.adapter_layer_norm_before(hidden_states))))


def returns_tuple(layer: nn.Module) -> int:
    """Return of how many a layer returns a tuple, 0 where it returns a tensor.

    Which do is not the same in transformers 4 and 5, and some do not say.
    """
    said = inspect.signature(layer.forward).return_annotation
    if said is inspect.Signature.empty or "tuple" in str(said).lower():
        return max(1, len([part for part in get_args(said) if part is not Ellipsis]))
    return 0


def as_returned(hidden_states: Tensor, tuple_of: int) -> Any:
    """Return x as a layer returns its own: alone, or the first of a tuple, with nothing behind it."""
    return (hidden_states, *[None] * (tuple_of - 1)) if tuple_of else hidden_states


class PassThrough(nn.Module):
    """What stands in place of a layer, where nothing does: x. Whatever else a layer is given does not matter to it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.returns_tuple, self.attention_type = returns_tuple(layer), getattr(layer, "attention_type", None)

    def forward(self, hidden_states: Tensor, *others: Any, **options: Any) -> Any:
        """Return x, as the layer would return its own."""
        return as_returned(hidden_states, self.returns_tuple)


class SkipAdapter(Adapter):
    """What stands in place of a layer: x + A(x). Whatever else a layer is given does not matter to it."""

    def __init__(self, width: int, bottleneck: int, layer: nn.Module) -> None:
        super().__init__(width, bottleneck)
        self.returns_tuple, self.attention_type = returns_tuple(layer), getattr(layer, "attention_type", None)

    def forward(self, hidden_states: Tensor, *others: Any, **options: Any) -> Any:
        """Return x + A(x), as the layer would return its own."""
        return as_returned(hidden_states + super().forward(hidden_states), self.returns_tuple)


class LayerOfHalves(nn.Module):
    """A layer of ViLT's kind, whose norms come first, with an adapter beside each half. Its parts keep their names."""

    def __init__(self, layer: Any, first: Adapter, second: Adapter) -> None:
        super().__init__()
        self.layernorm_before, self.attention, self.adapter0 = layer.layernorm_before, layer.attention, first
        self.layernorm_after, self.intermediate, self.output = layer.layernorm_after, layer.intermediate, layer.output
        self.adapter1 = second

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any) -> tuple[Any, ...]:
        """Return the stream, (B, N, width), and the attention's weights where they are asked for."""
        attended, *weights = self.attention(self.layernorm_before(hidden_states), attention_mask, *others)
        hidden_states = hidden_states + self.adapter0(hidden_states) + attended
        inner = self.intermediate(self.layernorm_after(hidden_states))
        return self.output(inner, hidden_states + self.adapter1(hidden_states)), *weights


def add_beside(layer: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    """Add to what a layer returns what its adapter makes of what the layer reads; a forward hook."""
    added = layer.adapter(inputs[0])
    return (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added


def put_beside(layer: Any, *adapters: Adapter) -> Any:
    """Return the layer with an adapter beside the whole of it, or one beside each half."""
    if len(adapters) > 1:
        return LayerOfHalves(layer, *adapters)
    (layer.adapter,) = adapters
    layer.register_forward_hook(add_beside)
    return layer


def find_layers(model: nn.Module, path: str) -> Any:
    """Return the list of layers at a path, which later versions of transformers call otherwise in ViT's kind."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return model.get_submodule(path.replace("encoder.layer", "layers"))


class WithAdapters(nn.Module):
    """What a class with adapters has before the library's."""

    def __init__(self, config: Any, *inputs: Any, **options: Any) -> None:
        super().__init__(config, *inputs, **options)
        said, width = config.das_adapters, config.hidden_size
        layers = find_layers(self, said["layers"])
        for number, layer in enumerate(layers):
            bottleneck = said["in_place_of"].get(str(number))
            if bottleneck == 0:
                layers[number] = PassThrough(layer)
            elif bottleneck:
                layers[number] = SkipAdapter(width, bottleneck, layer)
            elif said["beside"]:
                layers[number] = put_beside(layer, *(Adapter(width, bottleneck) for bottleneck in said["beside"]))


def __getattr__(name: str) -> Any:
    """Return the class of this name, ``DasBertForSequenceClassification`` or its config's, made when asked for."""
    library = getattr(transformers, name.removeprefix(PREFIX).removesuffix(SUFFIX), None)
    if library is None or not name.startswith(PREFIX):
        raise AttributeError(f"{__name__} has no {name}")
    if name.endswith(SUFFIX):  # one of its own for each class of models, so that each can be found by its config
        bases, own = [library.config_class], {"model_type": name.removesuffix(SUFFIX)}
    else:
        bases, own = [WithAdapters, library], {"config_class": __getattr__(name + SUFFIX)}
    globals()[name] = type(name, tuple(bases), {**own, "__module__": __name__})
    return globals()[name]
