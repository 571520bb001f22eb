"""What makes one vector of a text's tokens: pooling and the modules behind it, as sentence-transformers has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.families.key_mapping import Unsupported
from compressor.models.readout import ONE, Readout, first_token, last_token, mean_token, read_tokens
from compressor.models.steps import Streams, valid_tokens
from compressor.values import Value

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""Token 0, the largest value of each feature, the mean, the sum over the root of the number of tokens, the mean with
weights 1, 2, ... from the first token on, the last token: padding takes no part in any."""

NORMALIZE: Literal["normalize"] = "normalize"
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}
# How releases before 6 say the pooling, in the order in which several are joined.
FLAGS: Mapping[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
SENTENCE = "sentence_embedding"  # what the modules behind the pooling read and write


class Dense(Value):
    """A dense layer of so many outputs, and the name of the class of torch that follows it."""

    width: PositiveInt
    bias: bool = True
    activation: str = "Tanh"


class SentenceHead(Value):
    """Pooling, the modules behind it in order, and the prompts that texts may begin with.

    ``pooling`` has one way or several, whose vectors are joined; ``prompts`` are by name, and ``default_prompt`` names
    the one that a text gets where none is named.
    """

    pooling: tuple[Pooling, ...] = ("mean",)
    modules: tuple[Dense | Literal["normalize"], ...] = ()
    prompts: Mapping[str, str] = {}
    default_prompt: str | None = None

    @property
    def readout(self) -> Readout:
        """The tokens that are read."""
        alone = self.pooling[0] if len(self.pooling) == 1 else ""
        readouts: Mapping[str, Readout] = {"cls": "first", "lasttoken": "last", "mean": "mean"}
        return readouts.get(alone, "all")

    def widths(self, hidden: int) -> tuple[int, ...]:
        """Return the width of the pooled tokens of ``hidden`` numbers, and then what each dense layer makes of it."""
        return len(self.pooling) * hidden, *(module.width for module in self.modules if isinstance(module, Dense))

    def build(self, hidden: int) -> nn.Sequential:
        """Return the modules behind the pooling, (B, width) -> (B, width of the vector)."""
        width, parts = len(self.pooling) * hidden, []
        for module in self.modules:
            parts.append(DenseLayer(width, module) if isinstance(module, Dense) else UnitLength())
            width = module.width if isinstance(module, Dense) else width
        return nn.Sequential(*parts)


def read_sentence_head(said: Mapping[str, Any]) -> SentenceHead:
    """Return what the modules of a folder of sentence-transformers behind its transformer do.

    Args:
        said: ``modules``, the settings of each with its class's name as ``type``, the transformer's first, and
            ``settings``, those of all.

    Raises:
        Unsupported: modules, or settings of them, that das does not compute.
        ValueError: settings that contradict each other.
    """
    modules, settings = said["modules"], said["settings"]
    kinds = [str(module["type"]) for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or {*kinds[2:]} - {"Dense", "Normalize"}:
        raise Unsupported(f"modules.json has {', '.join(kinds)}, not a Transformer, Pooling, Dense and Normalize")
    _, pooling, *others = modules
    for module in others:
        for setting in ("module_input_name", "module_output_name"):
            if (named := module.get(setting) or SENTENCE) != SENTENCE:
                raise Unsupported(f"a module {module['type']} with {setting} {named}")
    prompts = settings.get("prompts") or {}
    return SentenceHead(
        pooling=_read_pooling(pooling),
        modules=tuple(_read_dense(module) if module["type"] == "Dense" else NORMALIZE for module in others),
        prompts={name: prompt for name, prompt in prompts.items() if prompt},
        default_prompt=settings.get("default_prompt_name"),
    )


def _read_pooling(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    if settings.get("include_prompt", True) is not True:
        raise Unsupported("a pooling that leaves out the tokens of the prompt (include_prompt false)")
    named = settings.get("pooling_mode")
    if named is None:
        named = [mode for flag, mode in FLAGS.items() if settings.get(flag)] or ["mean"]
    return (named,) if isinstance(named, str) else tuple(named)


def _read_dense(settings: Mapping[str, Any]) -> Dense:
    path = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = path.rpartition(".")[2]
    if not path.startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise Unsupported(f"a dense layer with the activation {path}")
    if settings.get("use_residual"):
        raise Unsupported("a dense layer beside a residual (use_residual)")
    return Dense(width=settings["out_features"], bias=settings.get("bias", True), activation=activation)


class DenseLayer(nn.Module):
    """A projection and an activation; the tensors have the library's names."""

    def __init__(self, width: int, said: Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(width, said.width, said.bias)
        self.activation = ACTIVATIONS[said.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, said.width)."""
        return self.activation(self.linear(x))


class UnitLength(nn.Module):
    """Vectors divided by their length."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        return F.normalize(x, dim=-1)


class SentenceEpilogue(nn.Module):
    """The vector of a text of the last stream; ``norm`` is that of every token of the stream."""

    def __init__(self, said: SentenceHead, hidden: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.pooling, self.readout = said.pooling, said.readout
        self.head, self.norm = said.build(hidden), norm or nn.Identity()

    def forward(self, streams: Streams) -> Tensor:
        """Return the vectors, (B, width)."""
        if self.readout in ONE:
            return self.head(self.norm(read_tokens(streams, "hidden", self.readout))[:, 0])
        x, valid = self.norm(streams["hidden"]), valid_tokens(streams, "hidden")
        return self.head(torch.cat([POOL[mode](x, valid) for mode in self.pooling], -1))


def _largest(x: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid[:, :, None], x, first_token(x)).amax(1)  # in place of padding a token that is none


def _mean_by_root(x: Tensor, valid: Tensor) -> Tensor:
    tokens = valid.sum(1, keepdim=True).to(x.dtype)
    return mean_token(x, valid)[:, 0] * tokens.sqrt()


def _weighted_mean(x: Tensor, valid: Tensor) -> Tensor:
    weights = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).to(x.dtype)
    return (x * (weights / weights.sum(1, keepdim=True))[:, :, None]).sum(1)


POOL: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda x, valid: first_token(x)[:, 0],
    "max": _largest,
    "mean": lambda x, valid: mean_token(x, valid)[:, 0],
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": lambda x, valid: last_token(x, valid)[:, 0],
}
"""Tokens (B, N, D) and which are no padding (B, N) bool to a vector, (B, D)."""
