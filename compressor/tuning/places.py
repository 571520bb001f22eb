"""Where in a layer things are put: its attentions, the projections behind them, its feed-forward part.

Modules are found by the names that transformers and das give them, so that families need not declare anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from compressor.errors import usage_error
from compressor.families import FAMILIES
from compressor.models.steps import StepModel, steps_of
from compressor.tuning.methods import Method

QUERY_KEY_VALUE = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
    ("q_proj", "k_proj", "v_proj"),
)
BEHIND_ATTENTION = re.compile(r"attention\.(output\.dense|output|out_lin|attn\.o)$")
BEHIND_FEED_FORWARD = re.compile(r"(^|\.)(output\.dense|ffn\.lin2|mlp\.fc2)$")


@dataclass(frozen=True)
class Layer:
    """The modules of a layer that methods touch, by their names in the model.

    Attributes:
        name: of the layer.
        width: of its stream.
        attentions: each is a module with projections of queries, keys and values; ``queries`` and ``values`` are those.
        behind_attention: the projection behind each attention.
        behind_feed_forward: the last projection of the feed-forward part.
        feed_forward: the module that is in.
    """

    name: str
    width: int
    attentions: tuple[str, ...]
    queries: tuple[str, ...]
    values: tuple[str, ...]
    behind_attention: tuple[str, ...]
    behind_feed_forward: str
    feed_forward: str


def tuned_layers(model: StepModel, method: Method) -> tuple[Layer, ...]:
    """Return the layers that a method touches: those of the family's first scope, METER's fusion layers.

    Raises:
        UsageError: the method has no place in one of them.
    """
    pools = next(iter(FAMILIES[model.family].scopes.values()))
    names = [step.name for step in steps_of(model.rounds) if step.pool in pools]
    return tuple(_layer(model, name, method) for name in names)


def _layer(model: StepModel, name: str, method: Method) -> Layer:
    block = model.blocks[name]
    prefix = f"blocks.{name}."
    attentions = {prefix + path: found for path, found in _attentions(block)}
    linear = [path for path, module in block.named_modules() if isinstance(module, nn.Linear)]
    behind = [path for path in linear if BEHIND_ATTENTION.search(path)]
    fed = [path for path in linear if BEHIND_FEED_FORWARD.search(path) and path not in behind]
    if not attentions or len(behind) != len(attentions) or len(fed) != 1:
        raise _no_place(model, method, f"{name} has no attention and feed-forward part under the names that das knows")
    if method.prefix and (closed := [path for path in attentions if not _takes_prefix(model.get_submodule(path))]):
        where = closed[0].removeprefix(prefix)
        raise _no_place(model, method, f"{where} of its layers lets no keys and values of other tokens in")
    return Layer(
        name,
        model.get_submodule(prefix + fed[0]).out_features,  # type: ignore[arg-type]
        tuple(attentions),
        tuple(f"{path}.{query}" for path, (query, _, _) in attentions.items()),
        tuple(f"{path}.{value}" for path, (_, _, value) in attentions.items()),
        tuple(prefix + path for path in behind),
        prefix + fed[0],
        prefix + fed[0].rpartition(".")[0],
    )


def _attentions(block: nn.Module) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for path, module in block.named_modules():
        children = dict(module.named_children())
        yield from ((path, names) for names in QUERY_KEY_VALUE if children.keys() >= {*names})


def _takes_prefix(attention: nn.Module) -> bool:
    """Return whether an attention reads its child ``prefix``: das's do, and the library's that ask what attends."""
    library = hasattr(attention, "config") and hasattr(attention, "scaling")
    return library or bool(getattr(attention, "reads_prefix", False))


def _no_place(model: StepModel, method: Method, reason: str) -> Exception:
    return usage_error(
        "method-without-place",
        f"--method {method.name} for {model.family}: {reason}",
        "a method that the family's layers have a place for",
        "--method bitfit, or full",
    )
