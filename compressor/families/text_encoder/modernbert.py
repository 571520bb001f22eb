"""ModernBERT: norms come first, and some layers attend to every token, others to a window of near ones.

Both kinds of layer turn queries and keys by the position of their token, each at rates of its own (RoPE, Su et al.,
2021). What a layer reads, not what it is, tells the kinds apart: mask and turns are streams, made once in the prologue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.costs.layer_macs import ATTENTION, NORMS, PRODUCTS, ModelMacs, Place, add_macs, norm_macs
from compressor.families.family import ATTENTION_MASK, INPUT_IDS
from compressor.families.text_encoder.text_dims import TextDims
from compressor.families.text_encoder.text_family import EMBED, TAG, encoder_family, head_macs
from compressor.families.text_encoder.text_modules import TextEncoderLayer, TextPrologue
from compressor.models.readout import ONE, Readout
from compressor.models.steps import Pick, Streams

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

FULL, SLIDING = "full_attention", "sliding_attention"
READS: Mapping[str, tuple[str, ...]] = {
    FULL: ("hidden", "mask", "turns"),
    SLIDING: ("hidden", "near", "near_turns"),
}
POOLING: Mapping[str, Readout] = {"cls": "first", "mean": "mean"}


class ModernbertDims(TextDims):
    """Sizes of a ModernBERT (Warner et al., 2024); the defaults are ModernBERT-base with two classes."""

    # What config.json called layer_types and rope_parameters before transformers 5.
    older_settings: ClassVar[tuple[str, ...]] = (
        *("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "rope_scaling"),
    )
    config: Mapping[str, Any] = {"model_type": "modernbert"}

    @field_validator("config")
    @classmethod
    def _fit(cls, config: dict[str, Any]) -> dict[str, Any]:
        if unknown := {*config["layer_types"]} - {*READS}:
            raise ValueError(f"layer_types has {', '.join(sorted(unknown))}")
        if config["hidden_size"] // config["num_attention_heads"] % 2:
            raise ValueError("attention heads of an odd width cannot be turned")
        thetas = [config["rope_parameters"][kind]["rope_theta"] for kind in READS]
        if not all(isinstance(theta, int | float) and theta > 0 for theta in thetas):
            raise ValueError(f"rope_theta is {thetas}")
        return config

    @property
    def unsupported(self) -> str:
        """Turns at other rates than the published model's kind."""
        kinds = {str(self.config["rope_parameters"][kind].get("rope_type")) for kind in READS} - {"default"}
        return f"rope_type {', '.join(sorted(kinds))}" if kinds else ""


class ModernbertPrologue(TextPrologue):
    """Token ids to ``hidden``, and to what the layers of both kinds read: masks, and turns of queries and keys."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__(backbone)
        config = backbone.config
        self.width = config.hidden_size // config.num_attention_heads
        self.window: int = config.sliding_window
        self.theta = {kind: config.rope_parameters[kind]["rope_theta"] for kind in (FULL, SLIDING)}

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, **others: Tensor) -> Streams:
        """Make ``near``, (B, 1, L, L) bool, and ``turns`` and ``near_turns``, (B, L, 2 D / heads), too.

        ``near`` is True at tokens in the window of each token, and at the token itself: were all that a padding token
        may attend to masked, runtimes would differ in what they make of it.
        """
        streams = super().forward(input_ids, attention_mask, **others)
        rows, place = input_ids.shape[0], torch.arange(input_ids.shape[1], device=input_ids.device)
        away = (place - place[:, None]).abs()
        near = (away <= self.window).expand(rows, 1, -1, -1)
        if "mask" in streams:
            near = near & streams["mask"] | (away == 0)
        turns, near_turns = (self._turns(place, self.theta[kind], streams["hidden"]) for kind in (FULL, SLIDING))
        return {**streams, "near": near, "turns": turns, "near_turns": near_turns}

    def _turns(self, place: Tensor, theta: float, hidden: Tensor) -> Tensor:
        """Return cosines and sines of every token's angles; these are float32, whatever the model's precision."""
        halves = torch.arange(0, self.width, 2, dtype=torch.float32, device=place.device)
        angles = place[:, None].float() * (1 / theta ** (halves / self.width))
        angles = torch.cat((angles, angles), -1)
        return torch.cat((angles.cos(), angles.sin()), -1).to(hidden.dtype).expand(hidden.shape[0], -1, -1)


class ModernbertLayer(TextEncoderLayer):
    """A layer of ModernBERT's of either kind, which can compute one token alone."""

    def forward(self, hidden: Tensor, mask: Tensor | None, turns: Tensor) -> Tensor:  # type: ignore[override]
        """(B, L, D), (B, 1, 1, L) or (B, 1, L, L) or None, and (B, L, 2 D / heads) -> (B, L, D)."""
        return self.add_adapter(self.layer(hidden, attention_mask=mask, position_embeddings=turns.chunk(2, -1)), hidden)

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor | None, turns: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

        layer: Any = self.layer
        attention, token = layer.attn, pick(hidden)
        split = attention.Wqkv(layer.attn_norm(hidden)).unflatten(-1, (3, -1, attention.head_dim))
        query, key, value = split.unbind(-3)  # (B, L, heads, D / heads)
        query, key = apply_rotary_pos_emb(query, key, *turns.chunk(2, -1), unsqueeze_dim=2)
        query = pick(query.flatten(2)).unflatten(-1, (-1, attention.head_dim))
        if mask is not None and layer.attention_type == SLIDING:
            mask = pick(mask.flatten(1, 2))[:, None]
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = token + attention.Wo(attended.transpose(1, 2).flatten(2))
        return self.add_adapter(attended + layer.mlp(layer.mlp_norm(attended)), token)


def modernbert_macs(dims: ModernbertDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a ModernBERT: gated feed-forward, the first layer without a norm of its attention.

    A window is a mask: attention to it costs what attention to all tokens costs.
    """
    d, tokens = dims.hidden, dims.text_length
    gated = 3 * d * dims.ffn

    def place(norms: int) -> Place:
        whole = {PRODUCTS: tokens * (4 * d**2 + gated), ATTENTION: 2 * tokens**2 * d}
        first = {PRODUCTS: tokens * 3 * d**2 + d**2 + gated, ATTENTION: 2 * tokens * d}
        normed = {NORMS: (norms - 1) * norm_macs(tokens, d)}  # of the attention, which reads all tokens
        return Place(
            1, tokens, d, add_macs(whole, normed, {NORMS: norm_macs(tokens, d)}),
            add_macs(first, normed, {NORMS: norm_macs(1, d)}), 1,
        )  # fmt: skip

    if task == TAG:  # the classifier has a dense layer and a norm of its own, for every token
        head = add_macs(head_macs(dims, task), {PRODUCTS: tokens * d**2, NORMS: norm_macs(2 * tokens, d)})
    else:
        readout = dims.sentence_head.readout if task == EMBED else POOLING[dims.config["classifier_pooling"]]
        normed = (1 if readout in ONE else tokens) + (task != EMBED)
        head = add_macs(head_macs(dims, task), {NORMS: norm_macs(normed, d)})
    return ModelMacs(prologue={NORMS: norm_macs(tokens, d)}, places={"En0": place(1), "encoder": place(2)}, head=head)


def _reads(dims: TextDims, layer: int) -> tuple[str, ...]:
    return READS[dims.config["layer_types"][layer]]


MODERNBERT = encoder_family(
    "modernbert",
    ModernbertDims,
    lambda model: nn.Sequential(nn.Flatten(), model.head, model.drop),
    "classifier.weight",
    library="ModernBert",
    prefix="model",
    signature=("tok_embeddings.weight", "norm.weight"),
    layers="layers",
    norm="final_norm",
    keys=(("head.", "epilogue.pooler.1."),),
    token_pooler=lambda model: nn.Sequential(nn.Identity(), model.head, model.drop),
    other_heads={"mlm": "decoder."},
    inputs=(INPUT_IDS, ATTENTION_MASK),
    streams=("hidden", "mask", "near", "turns", "near_turns"),
    reads=_reads,
    prologue=ModernbertPrologue,
    block=ModernbertLayer,
    readout=lambda dims, task: POOLING[dims.config["classifier_pooling"]],
    formula=modernbert_macs,
    absorber="layer.mlp.Wo",
    library_keeps=lambda dims, layers: 0 in layers,  # its attention has no norm
)
