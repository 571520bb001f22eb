"""Sizes of a BLIP for image-text matching: the library's configuration of both of its encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from compressor.families.image_settings import ImageSettings
from compressor.families.two_towers.tower_dims import TEXT, VISION, TowerDims

if TYPE_CHECKING:
    from transformers.models.clip.configuration_clip import CLIPVisionConfig

USUAL_LENGTH = 35  # of a caption, as BLIP's own code cuts them


class BlipDims(TowerDims):
    """Sizes of a BLIP; the defaults are those of Salesforce/blip-itm-base-coco, ``classes`` those of its head."""

    config: Mapping[str, Any] = {"model_type": "blip", TEXT: {"num_attention_heads": 12}}
    classes: PositiveInt = 2
    image_size: PositiveInt = 384
    pixels: ImageSettings = Field(default_factory=lambda: ImageSettings.of("BlipImageProcessor"))
    text_length: PositiveInt = USUAL_LENGTH

    @property
    def hidden(self) -> int:
        """Width of the stream that the head reads."""
        return self.config[TEXT]["hidden_size"]

    @property
    def text_padding(self) -> int:
        """Id of the padding token."""
        return self.config[TEXT]["pad_token_id"]

    @property
    def unsupported(self) -> str:
        """Text layers without cross-attention, too."""
        alone = "" if self.config[TEXT]["is_decoder"] else "is_decoder false in text_config"
        return super().unsupported or alone

    @property
    def vision_layer(self) -> CLIPVisionConfig:
        """The configuration of a layer of the vision encoder, which is CLIP's but for the names of its parts."""
        from transformers.models.clip.configuration_clip import CLIPVisionConfig

        same = ("hidden_size", "intermediate_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
        config = CLIPVisionConfig(**{name: self.config[VISION][name] for name in (*same, "attention_dropout")})
        config._attn_implementation = "sdpa"
        return config
