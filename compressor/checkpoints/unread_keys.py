"""Keys that nothing reads: those of known use elsewhere have a reason, all others stop the model from being loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressor.errors import Problem, shorten

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True)
class StoredOtherwise:
    """Weights that are stored as something else, which only the library that did it can turn back.

    Attributes:
        code: of the problem.
        pattern: of a key that tells.
        what: they are.
        fix: what turns them back, or what to give instead.
    """

    code: str
    pattern: str
    what: str
    fix: str


_DEQUANTISE = 'save the weights as floats: model.dequantize().save_pretrained("new"), or give those before quantisation'
_BEFORE = "give the checkpoint from before quantisation; das export --precision int8 quantises the slim model"

KINDS = (
    StoredOtherwise(
        "adapter-not-merged",
        r"(.*\.)?(lora_(A|B|E|embedding_A|embedding_B|magnitude_vector)|hada_w[12]_[ab]|lokr_w[12](_[ab])?|ia3_l"
        r"|vera_lambda_[bd]|[hb]?oft_[rRS])(\..*)?",
        "LoRA matrices, or those of another adapter of peft, that are not merged into the weights",
        'merge them: model.merge_and_unload().save_pretrained("new") with peft; with loralib model.eval() merges them, '
        "then save the state dict without them",
    ),
    StoredOtherwise(
        "weights-quantised", r".*\.(SCB|weight_format)", "8-bit weights of bitsandbytes with their scales", _DEQUANTISE
    ),
    StoredOtherwise(
        "weights-quantised",
        r".*\.(nested_)?(absmax|quant_map)|.*\.quant_state\..*",
        "4-bit weights of bitsandbytes with their scales",
        _DEQUANTISE,
    ),
    StoredOtherwise("weights-quantised", r".*\.g_idx", "weights quantised by GPTQ", _BEFORE),
    StoredOtherwise("weights-quantised", r".*\.(qweight|qzeros)", "weights quantised by AWQ or GPTQ", _BEFORE),
    StoredOtherwise(
        "weights-quantised",
        r".*\.(weight\._(data|scale)|weight_(packed|scale|scales|scale_inv|zero_point)|W_q|codebooks|_packed_params.*"
        r"|zero_point|weight_fake_quant\..*|activation_post_process\..*)",
        "quantised weights with their scales",
        _BEFORE,
    ),
    StoredOtherwise(
        "weights-in-parts",
        r".*\.(weight|bias)_mask",
        "weights pruned by torch.nn.utils.prune, apart from their masks",
        'apply the masks where they were made: torch.nn.utils.prune.remove(module, "weight"); then save the state dict',
    ),
    StoredOtherwise(
        "weights-in-parts",
        r"(.*\.)?parametrizations\..*",
        "weights that are computed from parts (torch.nn.utils.parametrizations)",
        'torch.nn.utils.parametrize.remove_parametrizations(module, "weight") where they were made; then save them',
    ),
    StoredOtherwise(
        "sharded-checkpoint",
        r"(.*\.)?_?flat_param",
        "weights that FSDP has flattened",
        "save the full state dict (StateDictType.FULL_STATE_DICT), or accelerate merge-weights FOLDER OUT",
    ),
)


def find_stored_otherwise(path: Any, keys: Iterable[str], config: Mapping[str, Any]) -> Problem | None:
    """Return what is wrong with a checkpoint whose weights are stored as something else; None where none are.

    Args:
        path: of the checkpoint, for the message.
        keys: all its keys.
        config: its configuration, which may name the method of a quantisation.
    """
    keys = list(keys)
    for kind in KINDS:
        if telling := [key for key in keys if re.fullmatch(kind.pattern, key)]:
            quantised = config.get("quantization_config")
            method = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
            named = f" (config.json says {method})" if method and kind.code == "weights-quantised" else ""
            return Problem(
                kind.code, f"{path} holds {kind.what}{named}: {shorten(telling)}", "weights as plain floats", kind.fix
            )
    return None


def find_unread(path: Any, family: str, unread: Iterable[str], read: Mapping[str, Tensor]) -> tuple[Problem, ...]:
    """Return the problems of keys that nothing reads, and of weights that are no floats.

    Args:
        path: of the checkpoint, for the message.
        family: of the model.
        unread: keys that no rule explains.
        read: the tensors that become parameters, by key.
    """
    problems = []
    if strays := list(unread):
        problems.append(
            Problem(
                "keys-unread",
                f"{path} has {len(strays)} keys that nothing reads: {shorten(strays)}",
                f"no more than a {family} has: what is left out could change every answer",
                "save the model without them if they are of no use, or give the checkpoint that has none",
            )
        )
    if others := {key: tensor.dtype for key, tensor in read.items() if tensor.dtype not in _FLOATS}:
        dtypes = ", ".join(sorted({str(dtype).removeprefix("torch.") for dtype in others.values()}))
        problems.append(
            Problem(
                "weights-not-float",
                f"{path} has {len(others)} weights of {dtypes}: {shorten(list(others))}",
                "weights of float32, float16, bfloat16 or float64",
                "give the checkpoint from before they were converted; numbers without their scales are not the weights",
            )
        )
    return tuple(problems)
