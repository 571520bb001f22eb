"""BLIP (Li et al., ICML 2022) for image-text matching: a ViT, and a BERT whose every layer attends to the image, too.

The forward pass is that of transformers' ``BlipForImageTextRetrieval`` with its matching head: two classes, read from
the first token. Its other head compares vectors of texts and images that never meet, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from compressor.costs.layer_macs import (
    CONVOLUTION,
    NORMS,
    PRODUCTS,
    ModelMacs,
    Place,
    encoder_layer_macs,
    encoder_token_macs,
    fusion_layer_macs,
    fusion_token_macs,
    norm_macs,
)
from compressor.families.blip.blip_dims import USUAL_LENGTH, BlipDims
from compressor.families.embeddings import resize_positions
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, LOGITS, MATCH, PIXEL_VALUES, Family, Pool
from compressor.families.key_mapping import (
    HEAD,
    Format,
    KeyTable,
    Leftover,
    Library,
    State,
    TensorPart,
    Unbuilt,
    Unsupported,
)
from compressor.families.square_images import image_transform, read_settings, write_settings
from compressor.families.two_towers.tower_dims import LAYERS, TEXT, VISION
from compressor.models.rounds import Rounds, Step
from compressor.tasks import TASKS

if TYPE_CHECKING:
    from compressor.models.steps import StepModel

POOLS = (Pool("vision", "VEn", 1 / 4), Pool("fusion-language", "FL", 3 / 8))
HEAD_KEYS, POSITIONS = "itm_head.", "prologue.image.position_embedding"
TEXT_LAYER, VISION_LAYER = "text_encoder.encoder.layer.{i}.", "vision_model.encoder.layers.{i}."
IMAGES = "vision_model.embeddings.class_embedding"
CONTRAST = {"image": "vision_proj.", "text": "text_proj."}
"""The projections of the head that das leaves out."""
INSTEAD = "a BLIP for image-text matching (BlipForImageTextRetrieval)"
TEXTS, WRITER = "text_encoder.embeddings.word_embeddings.weight", "text_decoder.bert.embeddings.word_embeddings.weight"


def _relative(code: str, keys: tuple[str, ...], what: str, architecture: str) -> Unbuilt:
    fix = "give Salesforce/blip-itm-base-coco, or a model that was fine-tuned from it"
    found = f"a BLIP that {what}, which das does not compute"
    return Unbuilt(code, (IMAGES, *keys), found, INSTEAD, fix, "blip", architecture)


UNBUILT = (
    _relative("blip-answers", (TEXTS, WRITER), "writes answers", "BlipForQuestionAnswering"),
    _relative("blip-captions", (WRITER,), "writes captions", "BlipForConditionalGeneration"),
    _relative("blip-vectors", ("text_model.embeddings.word_embeddings.weight",), "makes vectors", "BlipModel"),
    Unbuilt(
        "blip-2",
        ("query_tokens", "qformer.encoder.layer.0.attention.attention.query.weight"),
        "a BLIP-2, whose images are read by queries and das does not compute",
        INSTEAD,
        "give a BLIP of the first version, Salesforce/blip-itm-base-coco say",
        model_type="blip-2",
    ),
)


def blip_rounds(dims: BlipDims) -> Rounds:
    """Return the steps in the order they run."""
    vision = [(Step(f"VEn{i}", ("image",), ("image",), "vision"),) for i in range(dims.vision_layers)]
    meeting = (
        Step("match_text", ("text", "image"), ("text",), light=True),
        Step("match_mask", ("text_mask", "image"), ("text_mask",), light=True),
        Step("match_image", ("image", "text"), ("image",), light=True),
    )
    fusion = [
        (Step(f"FL{i}", ("text", "image", "text_mask"), ("text",), "fusion-language"),) for i in range(dims.text_layers)
    ]
    return (*vision, (Step("image_norm", ("image",), ("image",)),), meeting, *fusion)


def build(dims: BlipDims, task: str) -> StepModel:
    """Return a randomly initialised BLIP."""
    from transformers.models.blip.modeling_blip import BlipVisionEmbeddings
    from transformers.models.blip.modeling_blip_text import BlipTextEmbeddings, BlipTextLayer
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer

    from compressor.families.blip.blip_modules import (
        BlipEpilogue,
        BlipFusionLayer,
        BlipPrologue,
        BlipVisionLayer,
        ImageNorm,
    )
    from compressor.models.steps import Match, StepModel

    text, vision, beside = dims.library.text_config, dims.library.vision_config, dims.parallel_width
    blocks: dict[str, nn.Module] = {f"match_{entry}": Match() for entry in ("text", "mask", "image")}
    blocks["image_norm"] = ImageNorm(nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps))
    for i in range(dims.vision_layers):
        blocks[f"VEn{i}"] = BlipVisionLayer(CLIPEncoderLayer(dims.vision_layer), vision.hidden_size, beside)
    for i in range(dims.text_layers):
        blocks[f"FL{i}"] = BlipFusionLayer(BlipTextLayer(text, i), text.hidden_size, beside)
    prologue = BlipPrologue(BlipTextEmbeddings(text), BlipVisionEmbeddings(vision))
    return StepModel("blip", task, dims, prologue, blip_rounds(dims), blocks, BlipEpilogue(dims.hidden, dims.classes))


def read_dims(state: State, config: Mapping[str, Any], task: str | None) -> BlipDims:
    """Sizes from config.json.

    Raises:
        ValueError: settings of another kind of model, or that do not fit the tensors.
    """
    dims = BlipDims(config={**config, "model_type": "blip"})
    if dims.unsupported:
        raise Unsupported(f"config.json has {dims.unsupported}")
    for encoder, layer, layers in (
        ("text", TEXT_LAYER, dims.text_layers),
        ("vision", VISION_LAYER, dims.vision_layers),
    ):
        if any(key.startswith(layer.format(i=layers)) for key in state):
            raise ValueError(f"config.json says {layers} layers of the {encoder} encoder, and the tensors have more")
    adapters = [len(tensor) for key, tensor in state.items() if key.endswith(".adapter.down_proj.weight")]
    return dims.model_copy(
        update={
            "classes": (task and TASKS[task].classes) or dims.classes,
            "image_size": dims.stored_size,
            "text_length": min(USUAL_LENGTH, dims.longest_text),
            "parallel_width": adapters[0] if adapters else 0,
        }
    )


def prepare(ours: State, dims: BlipDims, state: State, task: str | None) -> State:
    """Positions at the model's image size; of the head the row that says "match" where that is all that is asked."""
    ours = {**ours, **{name: ours[name][-dims.classes :] for name in (HEAD + "weight", HEAD + "bias") if name in ours}}
    if POSITIONS in ours:
        ours[POSITIONS] = resize_positions(ours[POSITIONS][0], dims.image_size // dims.patch)[None]
    return ours


def fit_state(ours: State, dims: BlipDims) -> State:
    """Return ``ours`` with zeros for the head that was left out: the slim model's vectors would be worth nothing."""
    width, of = dims.config["image_text_hidden_size"], {"image": dims.vision.hidden_size, "text": dims.hidden}
    zeros = {f"contrast.{name}.weight": torch.zeros(width, size) for name, size in of.items()}
    return ours | zeros | {f"contrast.{name}.bias": torch.zeros(width) for name in of}


def count_layers(dims: BlipDims, kept: Sequence[int]) -> dict[str, Any]:
    """Return what config.json says of each encoder, with the number of its layers that are left."""
    vision = sum(number < dims.vision_layers for number in kept)
    left, written = {VISION: vision, TEXT: len(kept) - vision}, dims.library.to_dict()
    return {encoder: {**written[encoder], LAYERS: count} for encoder, count in left.items()}


def blip_macs(dims: BlipDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of one text and one image."""
    vision, text, patched = dims.vision, dims.text, patches[0] * patches[1]
    image, words, d = patched + 1, dims.text_length, dims.hidden
    seen = image, vision.hidden_size
    sizes = vision.hidden_size, vision.intermediate_size
    one = encoder_token_macs(image, *sizes, vision.num_attention_heads, normed=image)
    normed = {NORMS: norm_macs(*seen)}
    fused = fusion_layer_macs(words, image, d, text.intermediate_size, vision.hidden_size)
    first = fusion_token_macs(words, image, d, text.intermediate_size, text.num_attention_heads, vision.hidden_size)
    return ModelMacs(
        prologue={CONVOLUTION: patched * 3 * dims.patch**2 * vision.hidden_size, NORMS: norm_macs(words, d)},
        places={
            "vision": Place(1, *seen, encoder_layer_macs(image, *sizes), one, 1),
            "image_norm": Place(1, *seen, normed, normed),
            "fusion-language": Place(1, words, d, fused, first, 1),
        },
        head={PRODUCTS: d * dims.classes},
    )


HUGGING_FACE = Format(
    name="Hugging Face",
    signature=(IMAGES, TEXTS, f"{HEAD_KEYS}weight"),
    keys=KeyTable(
        renames=(
            ("text_encoder.embeddings.", "prologue.text."),
            (TEXT_LAYER + "adapter.", "blocks.FL{i}.adapter."),
            (TEXT_LAYER, "blocks.FL{i}.layer."),
            ("vision_model.embeddings.", "prologue.image."),
            (VISION_LAYER + "adapter.", "blocks.VEn{i}.adapter."),
            (VISION_LAYER + "self_attn.projection.", "blocks.VEn{i}.layer.self_attn.out_proj."),
            (VISION_LAYER, "blocks.VEn{i}.layer."),
            ("vision_model.post_layernorm.", "blocks.image_norm.norm."),
            *((theirs, f"contrast.{name}.") for name, theirs in CONTRAST.items()),
        ),
        splits=tuple(
            (
                f"{VISION_LAYER}self_attn.qkv.{kind}",
                tuple(
                    TensorPart(f"blocks.VEn{{i}}.layer.self_attn.{name}_proj.{kind}", at, at + 1, of=3)
                    for at, name in enumerate("qkv")
                ),
            )
            for kind in ("weight", "bias")
        ),
    ),
    heads={"itm": HEAD_KEYS, "irtr": HEAD_KEYS},
    read_dims=read_dims,
    model_type="blip",
    architectures={"itm": "BlipForImageTextRetrieval"},
    leftovers=(
        Leftover(r"text_encoder\.embeddings\.position_ids$", "a constant of old transformers"),
        *(
            Leftover(key, "of vectors of texts and images that never meet, which das does not compare")
            for key in CONTRAST.values()
        ),
    ),
    unbuilt=UNBUILT,
    read_beside=read_settings,
    library=Library(
        lambda dims: dims.library.to_dict(),
        write_settings,
        fit_state,
        count_layers,
        lambda answered: answered.itm_score,
        places=False,
    ),
)
BLIP = Family(
    name="blip",
    formats=(HUGGING_FACE,),
    pools=POOLS,
    scopes={"all": ("vision", "fusion-language"), "vision": ("vision",), "fusion": ("fusion-language",)},
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES),
    streams={"text": ("text", "text_mask"), "image": ("image",)},
    readout=lambda dims, task: {"text": "first"},
    outputs={"classes": (LOGITS,), "score": (MATCH,)},
    secondary=("irtr",),
    dims_type=BlipDims,
    rounds=blip_rounds,
    build=build,
    image_transform=image_transform,
    formula=blip_macs,
    prepare=prepare,
    absorbers={"vision": "layer.mlp.fc2"},
    unmasked=True,
)
