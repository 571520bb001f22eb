"""Put a method into a model, and tell which parameters it trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn

from compressor.families.key_mapping import HEAD
from compressor.models.prefix import Prefix, attend_in_library
from compressor.models.steps import StepModel
from compressor.training.recovery import EMBEDDINGS, LAYERS
from compressor.tuning.bottleneck import Behind, BesideFeedForward, Bottleneck
from compressor.tuning.lora import add_lora
from compressor.tuning.methods import Method
from compressor.tuning.places import Layer, tuned_layers

PREFIXES, LORA, ADAPTERS, NORMS, BIASES = "prefixes", "LoRA", "adapters", "LayerNorms of the adapters", "biases"
POOLERS, HEADS = "poolers", "head"
ATTENTION = "das_prefix"  # what transformers calls the attention that reads prefixes


def apply_method(model: StepModel, method: Method) -> tuple[str, ...]:
    """Put what a method adds into a full model, in place; return the names of the parameters that it trains.

    Poolers and head are not among them: they are trained whatever the method is. What is added leaves the answers as
    they were, but for prefixes, which dilute what attention gathers.

    Raises:
        UsageError: the method has no place in the family's layers.
        EnvironmentProblem: peft is not there, and the method needs it.
    """
    own, trained = {id(parameter) for parameter in model.parameters()}, trunk_of(model, method)
    if method.adds:
        layers = tuned_layers(model, method)
        for layer in layers:
            _add_prefixes(model, layer, method)
            _add_adapters(model, layer, method)
        if method.rank:
            names = [name for layer in layers for name in (*layer.queries, *layer.values)]
            add_lora(model, names, method.size(method.rank, layers[0].width))
    added = tuple(name for name, parameter in model.named_parameters() if id(parameter) not in own)
    return (*trained, *added)


def trunk_of(model: StepModel, method: Method) -> tuple[str, ...]:
    """Return the names of those weights of a checkpoint's model that a method trains, poolers and head apart."""
    names = [name for name, _ in model.named_parameters() if not (is_head(name) or name.startswith("skips."))]
    if method.trunk == "biases":
        return tuple(name for name in names if name.endswith(".bias"))
    return tuple(names) if method.trunk == "all" else ()


def count_updated(model: StepModel, names: Iterable[str], method: Method) -> dict[str, int]:
    """Count the parameters of these names, and of poolers and head, by what they are."""
    counts: Counter[str] = Counter()
    wanted = {*names}
    for name, parameter in model.named_parameters():
        if name in wanted or is_head(name):
            counts[_part(name, method)] += parameter.numel()
    return dict(counts)


def is_head(name: str) -> bool:
    """Return whether a parameter belongs to the poolers or the head."""
    return name.startswith(HEAD) or (name.startswith("epilogue.") and "pooler" in name.split(".")[1])


def _part(name: str, method: Method) -> str:
    if is_head(name):
        return HEADS if name.startswith(HEAD) else POOLERS
    if ".prefix." in name:
        return PREFIXES
    if ".lora_" in name:
        return LORA
    if ".adapter." in name and method.trunk == "none":
        return NORMS if ".norm." in name else ADAPTERS
    if method.trunk == "biases":
        return BIASES
    return EMBEDDINGS if name.startswith("prologue.") else LAYERS


def _add_prefixes(model: StepModel, layer: Layer, method: Method) -> None:
    if not method.prefix:
        return
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(ATTENTION, attend_in_library)
    for name in layer.attentions:
        attention = model.get_submodule(name)
        device = next(attention.parameters()).device
        attention.prefix = Prefix(method.size(method.prefix, layer.width), layer.width).to(device)
        if config := getattr(attention, "config", None):
            config._attn_implementation = ATTENTION


def _add_adapters(model: StepModel, layer: Layer, method: Method) -> None:
    def adapter(share: float, normed: bool = False) -> Bottleneck:
        made = Bottleneck(layer.width, method.size(share, layer.width), normed)
        return made.to(next(model.blocks[layer.name].parameters()).device)

    if method.sequential:
        for name in layer.behind_attention:
            _replace(model, name, Behind(model.get_submodule(name), adapter(method.sequential)))
        name = layer.behind_feed_forward
        _replace(model, name, Behind(model.get_submodule(name), adapter(method.sequential, normed=True)))
    if method.parallel:
        name = layer.feed_forward
        _replace(model, name, BesideFeedForward(model.get_submodule(name), adapter(method.parallel)))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
