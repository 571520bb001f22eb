"""SigLIP (Zhai et al., ICCV 2023), SigLIP 2 of fixed sizes: images pooled by attention, texts read at the last token.

No mask tells padding from tokens: a text is always padded to the length that the model was trained with, and its last
token, which may be padding, is read. So short texts cost what long ones cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from compressor.costs.layer_macs import NORMS, PRODUCTS, add_macs, encoder_token_macs, norm_macs
from compressor.families.family import INPUT_IDS
from compressor.families.image_settings import ImageSettings
from compressor.families.key_mapping import TensorPart, Unbuilt
from compressor.families.two_towers.tower_dims import TEXT, VISION, TowerDims
from compressor.families.two_towers.tower_family import tower_family
from compressor.families.two_towers.tower_modules import Projections, TowerLayer
from compressor.models.trims.single_query import attend_one_token

POOL, OURS = "vision_model.head.", "epilogue.head.image."
NAFLEX = Unbuilt(
    code="siglip-naflex",
    signature=("vision_model.embeddings.patch_embedding.weight", "vision_model.head.probe", "logit_bias"),
    what="a SigLIP 2 of the NaFlex kind, which sees images in their own shapes and das does not compute",
    expected="a SigLIP or SigLIP 2 of a fixed size (model_type siglip in config.json)",
    fix="give the one of a fixed size, siglip2-...-patch16-224 say",
    model_type="siglip2",
)


class SiglipDims(TowerDims):
    """Sizes of a SigLIP; the defaults are google/siglip-base-patch16-224."""

    config: Mapping[str, Any] = {"model_type": "siglip"}
    classes: int = 768
    text_length: int = 64
    pixels: ImageSettings = Field(default_factory=lambda: ImageSettings.of("SiglipImageProcessor"))

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.config[VISION]["hidden_size"]

    @property
    def unsupported(self) -> str:
        """A vision tower without its pooling, and vectors of two widths, too."""
        text, vision = self.config[TEXT], self.config[VISION]
        odd = ["vision_use_head false"] * (not vision["vision_use_head"])
        odd += [f"projection_size {text['projection_size']}"] * (text["projection_size"] != vision["hidden_size"])
        return super().unsupported or ", ".join(odd)


def no_norm(model: Any) -> nn.Module:
    """Return nothing that is done to embedded patches.

    Patches get no padding by number, not by name: of a convolution that names it counters know nothing.
    """
    model.vision_model.embeddings.patch_embedding.padding = (0, 0)
    return nn.Identity()


class AttentionPool(nn.Module):
    """The library's pooling: a learned query attends to all tokens, and a feed-forward part follows.

    One query needs no keys and values of its own (:mod:`compressor.models.trims.single_query`).
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        width, self.heads = head.attention.embed_dim, head.attention.num_heads
        self.probe, self.layernorm, self.mlp = head.probe, head.layernorm, head.mlp
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, D) -> (B, 1, D)."""
        # Not expanded: PyTorch's counter of multiply-adds takes no view of a parameter in inference mode.
        probe = self.probe.repeat(image.shape[0], 1, 1)
        projections = self.q_proj, self.k_proj, self.v_proj
        pooled = self.out_proj(attend_one_token(probe, image, *projections, self.heads, None))
        return pooled + self.mlp(self.layernorm(pooled))


SIGLIP = tower_family(
    "siglip",
    SiglipDims,
    library="SiglipModel",
    signature=(
        "text_model.embeddings.token_embedding.weight",
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.head.probe",
        "logit_bias",
    ),
    keys=(
        ("text_model.head.", "epilogue.head.text."),
        *((f"{POOL}{part}", f"{OURS}{part}") for part in ("probe", "layernorm.", "mlp.")),
        (f"{POOL}attention.out_proj.", f"{OURS}out_proj."),
        ("logit_scale", "epilogue.head.scale"),
        ("logit_bias", "epilogue.head.bias"),
    ),
    splits=tuple(
        (
            f"{POOL}attention.in_proj_{kind}",
            tuple(TensorPart(f"{OURS}{name}_proj.{kind}", at, at + 1, of=3) for at, name in enumerate("qkv")),
        )
        for kind in ("weight", "bias")
    ),
    head_keys="text_model.head.",
    inputs=(INPUT_IDS,),
    text_streams=("text",),
    readouts={"text": "last", "image": "all"},
    text_layer=TowerLayer,
    vision_layer=TowerLayer,
    embedded=no_norm,
    project=lambda model: Projections(
        model.text_model.head, AttentionPool(model.vision_model.head), model.logit_scale, model.logit_bias
    ),
    read_to=lambda dims: None,
    head_macs=lambda dims, tokens: add_macs(
        {PRODUCTS: dims.text.hidden_size * dims.width, NORMS: norm_macs(1, dims.text.hidden_size)},
        encoder_token_macs(
            tokens, dims.width, dims.vision.intermediate_size, dims.vision.num_attention_heads, normed=tokens
        ),
    ),
    class_tokens=0,
    unbuilt=(NAFLEX,),
)
