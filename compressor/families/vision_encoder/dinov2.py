"""DINOv2: layers with a learned scale, and a classifier that reads the class token and the mean of the patches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from compressor.costs.layer_macs import ATTENTION, CONVOLUTION, NORMS, PRODUCTS, ModelMacs, Place, norm_macs
from compressor.families.image_settings import ImageSettings
from compressor.families.key_mapping import TensorPart
from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.families.vision_encoder.vision_family import POOL, vision_family
from compressor.families.vision_encoder.vision_modules import VisionEncoderLayer
from compressor.families.vision_encoder.vit import ATTENTION_KEYS
from compressor.models.steps import Streams

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

GATED = tuple(
    (
        f"mlp.weights_in.{kind}",
        (TensorPart(f"mlp.gate_proj.{kind}", 0, 1, of=2), TensorPart(f"mlp.up_proj.{kind}", 1, 2, of=2)),
    )
    for kind in ("weight", "bias")
)
"""Of SwiGLU published checkpoints have gate and input in one tensor."""


class Dinov2Dims(VisionDims):
    """Sizes of a DINOv2 (Oquab et al., TMLR 2024); the defaults are dinov2-base with two classes."""

    config: Mapping[str, Any] = {"model_type": "dinov2", "image_size": 518, "patch_size": 14}
    pixels: ImageSettings = Field(default_factory=lambda: ImageSettings.of("BitImageProcessor"))

    @property
    def ffn(self) -> int:
        """Inner width of the feed-forward part; of a gated one two thirds, in multiples of 8."""
        width = int(self.hidden * self.config["mlp_ratio"])
        return (int(width * 2 / 3) + 7) // 8 * 8 if self.config["use_swiglu_ffn"] else width

    @property
    def registers(self) -> int:
        """Tokens between the class token and the patches, which have no position."""
        return int(self.config.get("num_register_tokens", 0))


class RegistersDims(Dinov2Dims):
    """Sizes of a DINOv2 with registers (Darcet et al., ICLR 2024); the defaults are dinov2-with-registers-base."""

    config: Mapping[str, Any] = {"model_type": "dinov2_with_registers", "image_size": 518, "patch_size": 14}


class Dinov2Layer(VisionEncoderLayer):
    """A layer whose two halves are scaled, number by number, before they are added to the stream."""

    @property
    def last_map(self) -> nn.Linear:
        """The linear map in front of the last scale."""
        mlp: Any = self.layer.mlp
        return mlp.down_proj if hasattr(mlp, "down_proj") else mlp.fc2

    @torch.no_grad()
    def fold_scale(self) -> None:
        """Multiply the last scale into that map, and leave ones."""
        layer: Any = self.layer
        scale, last = layer.layer_scale2.lambda1, self.last_map
        last.weight.mul_(scale[:, None])
        last.bias.mul_(scale)
        scale.fill_(1)


class ClassAndMean(nn.Module):
    """The class token beside the mean of the patches to the head; registers, which lie between, are left out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.registers = getattr(model.config, "num_register_tokens", 0)
        self.norm: nn.Module = model.base_model.layernorm
        self.head: nn.Module = model.classifier

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes)."""
        tokens = self.norm(streams["image"])
        return self.head(torch.cat([tokens[:, 0], tokens[:, 1 + self.registers :].mean(1)], 1))


def dinov2_macs(dims: Dinov2Dims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a DINOv2, whose every token is normed for the head."""
    d, count = dims.hidden, patches[0] * patches[1]
    tokens = dims.special + dims.registers + count
    maps = 3 if dims.config["use_swiglu_ffn"] else 2
    whole = {
        PRODUCTS: tokens * (4 * d**2 + maps * d * dims.ffn),
        ATTENTION: 2 * tokens**2 * d,
        NORMS: 2 * norm_macs(tokens, d),
    }
    return ModelMacs(
        prologue={CONVOLUTION: count * 3 * dims.patch**2 * d},
        places={POOL.name: Place(1, tokens, d, whole, whole, 1)},
        head={PRODUCTS: 2 * d * dims.classes, NORMS: norm_macs(tokens, d)},
    )


dinov2_family = partial(
    vision_family,
    keys=(*ATTENTION_KEYS, ("mlp.weights_out.", "mlp.down_proj.")),
    splits=GATED,
    layers="encoder.layer",
    block=Dinov2Layer,
    epilogue=ClassAndMean,
    readout="all",
    formula=dinov2_macs,
    absorber="last_map",
)
DINOV2 = dinov2_family("dinov2", Dinov2Dims, library="Dinov2")
DINOV2_REGISTERS = dinov2_family(
    "dinov2-with-registers",
    RegistersDims,
    library="Dinov2WithRegisters",
    prefix="dinov2_with_registers",
    antialias=True,
)
DINOV2_FAMILIES = (DINOV2, DINOV2_REGISTERS)
