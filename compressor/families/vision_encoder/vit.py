"""ViT and DeiT: a class token in front of the patches, norms first.

DeiT (Touvron et al., ICML 2021) has a second token, which was trained to say what a teacher says. Its published models
have a head for each and average the two (``deit-distilled``); ``deit`` reads the class token alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from compressor.costs.layer_macs import NORMS, PRODUCTS, ModelMacs, norm_macs
from compressor.families.image_settings import ImageSettings
from compressor.families.key_mapping import HEAD
from compressor.families.library_parts import VitAttention, VitFeedForward, halves
from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.families.vision_encoder.vision_family import POOL, vision_family, vision_macs
from compressor.models.steps import Streams

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

ATTENTION_KEYS = (
    *((f"attention.attention.{name}.", f"attention.{name[0]}_proj.") for name in ("query", "key", "value")),
    ("attention.output.dense.", "attention.o_proj."),
)
"""How published checkpoints call the parts of an attention, against transformers' own modules."""
LAYER_KEYS = (*ATTENTION_KEYS, ("intermediate.dense.", "mlp.fc1."), ("output.dense.", "mlp.fc2."))


class VitDims(VisionDims):
    """Sizes of a ViT (Dosovitskiy et al., ICLR 2021); the defaults are vit-base-patch16-224 with two classes."""

    config: Mapping[str, Any] = {"model_type": "vit", "image_size": 224, "patch_size": 16}


class DeitDims(VisionDims):
    """Sizes of a DeiT; the defaults are deit-base-distilled-patch16-224 with two classes."""

    special: ClassVar[int] = 2
    config: Mapping[str, Any] = {"model_type": "deit", "image_size": 224, "patch_size": 16}
    pixels: ImageSettings = Field(default_factory=lambda: ImageSettings.of("DeiTImageProcessor"))


class TwoHeads(nn.Module):
    """The class token and the distillation token to a head each; the logits are the mean of both."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.norm: nn.Module = model.base_model.layernorm
        self.head = nn.ModuleList([model.cls_classifier, model.distillation_classifier])

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes)."""
        read = self.norm(streams["image"][:, : len(self.head)])
        return (self.head[0](read[:, 0]) + self.head[1](read[:, 1])) / len(self.head)


def two_head_macs(dims: DeitDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a DeiT with two heads."""
    heads = {PRODUCTS: 2 * dims.hidden * dims.classes, NORMS: norm_macs(2, dims.hidden)}
    return replace(vision_macs(dims, task, patches), head=heads)


VIT_PARTS = halves(VitAttention, VitFeedForward, layer=lambda block: block.layer)

VIT = vision_family("vit", VitDims, library="ViT", keys=LAYER_KEYS, merging=POOL.name, parts=VIT_PARTS)
DEIT = vision_family(
    "deit", DeitDims, library="DeiT", keys=LAYER_KEYS, signature=("classifier.weight",), parts=VIT_PARTS
)
DEIT_DISTILLED = vision_family(
    "deit-distilled",
    DeitDims,
    library="DeiT",
    prefix="deit",
    keys=LAYER_KEYS,
    signature=("distillation_classifier.weight",),
    heads={"cls_classifier.": f"{HEAD}0.", "distillation_classifier.": f"{HEAD}1."},
    architecture="DeiTForImageClassificationWithTeacher",
    epilogue=TwoHeads,
    readout="all",
    parts=VIT_PARTS,
    formula=two_head_macs,
)
VIT_FAMILIES = (VIT, DEIT, DEIT_DISTILLED)
