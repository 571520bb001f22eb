"""METER (Dou et al., CVPR 2022): CLIP ViT and RoBERTa or BERT, joined by rounds of co-attention layers.

The forward pass computes what the public code computes, trap by trap: both fusion layers of a round read the previous
text and image; post-LN with eps 1e-12 in fusion and in BERT, 1e-5 elsewhere; QuickGELU in CLIP, erf GELU elsewhere;
the image mask is all ones; DAS's checkpoints replace the projected text token 0 by a learned one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPVisionEmbeddings
from transformers.models.roberta.modeling_roberta import RobertaLayer

from compressor.architectures.meter import READOUT, MeterDims, meter_rounds
from compressor.families.embeddings import UntypedEmbeddings
from compressor.families.meter.meter_fusion import FusionLayer, FusionSizes
from compressor.families.meter.meter_words import BertWords, RobertaWords
from compressor.families.vision_language import build_head
from compressor.models.padding import MASKED
from compressor.models.prefix import attend
from compressor.models.readout import read_tokens
from compressor.models.steps import Match, Pick, StepModel, Streams, TokenWise
from compressor.models.trims.single_query import one_token_of, one_token_of_clip
from compressor.token_merging.bipartite import merge_alike


class MeterPrologue(nn.Module):
    """Token ids and pixels to the first ``text`` and ``image`` streams and the additive ``text_mask``."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        words: dict[str, type[RobertaWords | BertWords]] = {"roberta": RobertaWords, "bert": BertWords}
        self.text: RobertaWords | BertWords | UntypedEmbeddings = words[dims.text_encoder](dims.text_config)
        self.image = CLIPVisionEmbeddings(dims.vision_config)
        self.image_norm = nn.LayerNorm(dims.vision_width, eps=1e-5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, pixel_values: Tensor) -> Streams:
        """Token ids and mask (B, L) with pixels (B, 3, H, W), or (B, 2, 3, H, W) of pairs, to the first streams.

        ``text`` (B, L, Dt), ``text_mask`` (B, 1, 1, L), ``image`` (B, N, Dv); the images of a pair become rows of
        their own, (2 B, N, Dv). There is no ``text_mask`` without an ``attention_mask``: no text is padded.
        """
        if pixel_values.ndim == 5:
            pixel_values = pixel_values.flatten(0, 1)
        image = self.image_norm(self.image(pixel_values))
        streams = {"text": self.text(input_ids), "image": image}
        if attention_mask is not None:
            streams["text_mask"] = (1.0 - attention_mask[:, None, None, :].to(image.dtype)) * MASKED
        return streams

    def fold_constants(self) -> None:
        """Add the token type to the positions."""
        if not isinstance(self.text, UntypedEmbeddings):
            self.text = self.text.untyped()


class TextBridge(TokenWise):
    """The text encoder's width to the fusion width, plus the text's type; token 0 replaced when DAS trained one."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.project = nn.Linear(dims.text_hidden, dims.hidden)
        self.token_type: nn.Parameter | None = nn.Parameter(torch.zeros(1, dims.hidden))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dims.hidden)) if dims.class_token else None

    def forward(self, text: Tensor) -> Tensor:
        """(B, L, Dt) -> (B, L, D)."""
        text = self.project(text)
        if self.class_token is not None:
            text = torch.cat([self.class_token.expand(text.shape[0], -1, -1), text[:, 1:]], dim=1)
        return text if self.token_type is None else text + self.token_type

    def fold_constants(self) -> None:
        """Add the type to the projection's bias, and to the class token."""
        if self.token_type is not None:
            self.project.bias = nn.Parameter(self.project.bias + self.token_type[0])
            if self.class_token is not None:
                self.class_token = nn.Parameter(self.class_token + self.token_type)
            self.token_type = None


class ImageBridge(TokenWise):
    """CLIP's final norm, its width to the fusion width, plus the image's type: its own for each of a pair."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.images = dims.images
        self.norm = nn.LayerNorm(dims.vision_width, eps=1e-5)
        self.project = nn.Linear(dims.vision_width, dims.hidden)
        self.token_types: nn.Parameter | None = nn.Parameter(torch.zeros(dims.image_types, dims.hidden))

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, D)."""
        image = self.project(self.norm(image))
        if self.token_types is None:
            return image
        if self.images == 1:
            return image + self.token_types[0]
        pairs = image.unflatten(0, (-1, self.images)) + self.token_types[: self.images, None]
        return pairs.flatten(0, 1)

    def fold_constants(self) -> None:
        """Add the type to the projection's bias, where there is one type for all images."""
        if self.images == 1 and self.token_types is not None:
            self.project.bias = nn.Parameter(self.project.bias + self.token_types[0])
            self.token_types = None


class VisionLayer(CLIPEncoderLayer):
    """CLIP's pre-LN encoder layer, without its unused mask argument."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, Dv)."""
        return super().forward(image, None)

    def one_token(self, pick: Pick, image: Tensor, log_sizes: Tensor | None = None) -> Tensor:
        """Return the output, (B, 1, Dv), at the token that ``pick`` takes; ``log_sizes`` where tokens were merged."""
        return one_token_of_clip(self, pick, image, log_sizes)


class MergingVisionLayer(VisionLayer):
    """The same layer; behind its attention, ``merged`` tokens become part of those that are most alike."""

    def __init__(self, config: CLIPVisionConfig, merged: int) -> None:
        super().__init__(config)
        self.merged = merged

    def forward(self, image: Tensor, log_sizes: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, N, Dv), (B, 1, 1, N) -> (B, N - merged, Dv), (B, 1, 1, N - merged); without merging the first alone."""
        normed, inner = self.layer_norm1(image), self.self_attn
        query, key, value = (
            projection(normed).unflatten(-1, (inner.num_heads, -1)).transpose(1, 2)  # (B, heads, N, Dv / heads)
            for projection in (inner.q_proj, inner.k_proj, inner.v_proj)
        )
        image = image + inner.out_proj(attend(inner, query, key, value, log_sizes).transpose(1, 2).flatten(2))
        if self.merged:
            image, log_sizes = merge_alike(image, key, log_sizes, self.merged)
        image = image + self.mlp(self.layer_norm2(image))
        return (image, log_sizes) if self.merged and log_sizes is not None else image


class LanguageLayer(RobertaLayer):
    """RoBERTa's post-LN encoder layer, which is BERT's too."""

    def one_token(self, pick: Pick, text: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, Dt), at the token that ``pick`` takes."""
        return one_token_of(self, pick, text, mask)


class _Pooler(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


class MeterEpilogue(nn.Module):
    """Pool token 0 of each stream, text first; join what belongs to one pair; classify."""

    def __init__(self, dims: MeterDims, task: str) -> None:
        super().__init__()
        self.images = dims.images
        self.text_pooler = _Pooler(dims.hidden)
        self.image_pooler = _Pooler(dims.hidden)
        self.head = build_head(task, dims.images * 2 * dims.hidden, 2 * dims.hidden, dims.classes)

    def forward(self, streams: Streams) -> Tensor:
        """Streams to logits (B, classes)."""
        text, image = (read_tokens(streams, name, readout) for name, readout in READOUT.items())
        pooled = torch.cat([self.text_pooler(text), self.image_pooler(image)], dim=-1)
        return self.head(pooled if self.images == 1 else pooled.unflatten(0, (-1, self.images)).flatten(1))


def build_meter(dims: MeterDims, task: str) -> StepModel:
    """Return a randomly initialised METER."""
    blocks: dict[str, nn.Module] = {"text_bridge": TextBridge(dims), "image_bridge": ImageBridge(dims)}
    blocks |= {f"match_{entry}": Match() for entry in ("text", "mask", "image", "sizes")}
    blocks |= {f"VEn{i}": VisionLayer(dims.vision_config) for i in range(dims.vision_layers)}
    blocks |= {f"VEn{i}": MergingVisionLayer(dims.vision_config, n) for i, n in enumerate(dims.merged_tokens)}
    blocks |= {f"LEn{i}": LanguageLayer(dims.text_config) for i in range(dims.text_layers)}
    sizes = FusionSizes(dims.hidden, dims.heads, dims.fusion_ffn, dims.parallel_width, dims.dropout)
    blocks |= {f"{side}{i}": FusionLayer(sizes) for side in ("FL", "FV") for i in range(dims.fusion_layers)}
    return StepModel("meter", task, dims, MeterPrologue(dims), meter_rounds(dims), blocks, MeterEpilogue(dims, task))
