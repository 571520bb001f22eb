"""Which encoders a METER was trained with: RoBERTa or BERT reads its texts, a CLIP ViT or a Swin its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressor.architectures.meter import TextEncoder
from compressor.families.key_mapping import Unbuilt

_EMBEDDINGS = "text_transformer.embeddings."
_NAMES: Mapping[TextEncoder, str] = {"roberta": "RoBERTa", "bert": "BERT"}
# Rows of the embeddings of roberta-base and bert-base-uncased, of which METER's configurations name one.
_POSITIONS: Mapping[int, TextEncoder] = {514: "roberta", 512: "bert"}
_WORDS: Mapping[int, TextEncoder] = {50265: "roberta", 30522: "bert"}

SWIN = Unbuilt(
    code="meter-with-swin",
    signature=(
        "cross_modal_text_transform.weight",
        "vit_model.patch_embed.proj.weight",
        "vit_model.layers.0.blocks.0.attn.qkv.weight",
    ),
    what="a METER whose images are read by a Swin transformer, which das does not compute",
    expected="a METER with a CLIP vision encoder (vit_model.visual.conv1.weight)",
    fix="give a METER that was trained with a CLIP ViT: vit ViT-B/16 or ViT-B/32 in its configuration",
)


def find_text_encoder(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> TextEncoder:
    """Return the text encoder that the configuration names; where it names none, the one whose shape the tensors have.

    METER's public code takes RoBERTa where the name of the tokenizer has "roberta" in it, else BERT.

    Raises:
        ValueError: no tensor looks like what is named, or the tensors look like both.
    """
    named, signs = _named(config), _signs(state)
    if named and named in signs.values():
        return named
    if named:
        raise ValueError(f"its tokenizer {config['tokenizer']} is {_NAMES[named]}'s, but it has {_describe(signs)}")
    if len(set(signs.values())) > 1:
        raise ValueError(f"it names no tokenizer, and has {_describe(signs)}")
    return next(iter(signs.values()))


def describe_contradictions(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence where some tensors do not look like the text encoder that is computed."""
    encoder = find_text_encoder(state, config)
    against = {sign: other for sign, other in _signs(state).items() if other != encoder}
    if not against:
        return ()
    return (
        f"the text encoder is computed as {_NAMES[encoder]}, for the checkpoint's tokenizer is "
        f"{config['tokenizer']}; yet it has {_describe(against)}",
    )


def check_vision_encoder(config: Mapping[str, Any]) -> None:
    """Hold that the configuration does not name another vision encoder than CLIP's, whose tensors are there.

    Raises:
        ValueError: it names a Swin.
    """
    if "swin" in str(config.get("vit")):
        raise ValueError(f"its vision encoder is called {config['vit']}, but has the tensors of a CLIP ViT")


def _named(config: Mapping[str, Any]) -> TextEncoder | None:
    name = config.get("tokenizer")
    if not isinstance(name, str) or not name:
        return None
    return "roberta" if "roberta" in name else "bert"


def _signs(state: Mapping[str, Tensor]) -> dict[str, TextEncoder]:
    """Return what tells the encoders apart in the shapes of ``state``, and whose it is."""
    types, positions, words = (
        len(state[f"{_EMBEDDINGS}{kind}_embeddings.weight"]) for kind in ("token_type", "position", "word")
    )
    signs: dict[str, TextEncoder] = {f"{types} token type{'s' * (types > 1)}": "bert" if types > 1 else "roberta"}
    if positions in _POSITIONS:
        signs[f"{positions} positions"] = _POSITIONS[positions]
    if words in _WORDS:
        signs[f"{words} words"] = _WORDS[words]
    return signs


def _describe(signs: Mapping[str, TextEncoder]) -> str:
    return ", ".join(f"{sign} as {_NAMES[encoder]} has them" for sign, encoder in signs.items())
