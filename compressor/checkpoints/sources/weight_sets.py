"""The sets of weights in a file: what each is called, and what wrappers have put before or into its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from compressor.families.key_mapping import State

LIGHTNING = "pytorch-lightning_version"
STATE_DICT = "state_dict"
BETWEEN_SETS = "/"  # between the name of a set and a key; keys of PyTorch have dots

# Sets inside sets; an optimiser's are three deep.
_DEEPEST = 3
# What torch.compile, FSDP, activation checkpoints and Lightning Fabric put before a part's own name, anywhere.
_WRAPPER = re.compile(r"(?:(?<=[./])|^)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")


def gather_tensors(content: Mapping[Any, Any]) -> State:
    """Return the tensors that were saved in ``content``, by key; those of a dict inside start with its name and "/".

    Lightning's ``state_dict``, and one that is alone, is what the file is about: its keys stay as they are.
    """
    inner = content.get(STATE_DICT)
    sets = [name for name, value in content.items() if isinstance(value, Mapping) and any(_tensors(value, _DEEPEST))]
    if isinstance(inner, Mapping) and (LIGHTNING in content or sets == [STATE_DICT]):
        content = inner
    return dict(_tensors(content, _DEEPEST))


def _tensors(content: Mapping[Any, Any], deepest: int) -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield str(name), value
        elif isinstance(value, Mapping) and deepest:
            for key, tensor in _tensors(value, deepest - 1):
                yield f"{name}{BETWEEN_SETS}{key}", tensor


def without_wrappers(state: Mapping[str, Tensor]) -> tuple[State, tuple[str, ...]]:
    """Return the tensors under the keys they had before modules were wrapped, and the wrappers' names.

    Raises:
        ValueError: two keys that differ by a wrapper only.
    """
    names = tuple(dict.fromkeys(name for key in state for name in _WRAPPER.findall(key)))
    bare: State = {}
    for key, tensor in state.items():
        new = _WRAPPER.sub("", key)
        if new in bare:
            raise ValueError(f"{new} is there with and without {', '.join(names)}")
        bare[new] = tensor
    return bare, names


def find_prefixes(state: Mapping[str, Tensor], keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return every prefix, "" among them, under which all of ``keys`` are in ``state``."""
    starts = (key.removesuffix(keys[0]) for key in state if key.endswith(keys[0]))
    ends = ("", ".", BETWEEN_SETS)
    return tuple(start for start in starts if start[-1:] in ends and all(start + key in state for key in keys))


def split_at(state: Mapping[str, Tensor], prefix: str) -> tuple[State, tuple[str, ...], tuple[str, ...]]:
    """Return the tensors under ``prefix`` without it, the other keys of the same set, and the names of other sets."""
    home = prefix.rpartition(BETWEEN_SETS)[0]
    inside = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    inside = {key: tensor for key, tensor in inside.items() if BETWEEN_SETS not in key}
    others = [key for key in state if not key.startswith(prefix) or BETWEEN_SETS in key.removeprefix(prefix)]
    beside = tuple(key for key in others if key.rpartition(BETWEEN_SETS)[0] == home)
    sets = (key.partition(BETWEEN_SETS)[0] for key in others if key.rpartition(BETWEEN_SETS)[0] != home)
    return inside, beside, tuple(dict.fromkeys(sets))
