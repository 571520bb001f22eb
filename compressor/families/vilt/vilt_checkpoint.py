"""Checkpoints of ViLT: those of its and DAS's public code, and Hugging Face's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor

from compressor.architectures.vilt import ViltDims
from compressor.families.key_mapping import Format, KeyTable, Leftover, Library, State, TensorPart, Unsupported
from compressor.families.vilt.vilt_pixels import read_pixels, write_pixels
from compressor.families.vision_language import PREFIXES, check_transform, find_head, for_another_task


def _sizes(state: Mapping[str, Tensor], keys: KeyTable, last: str, task: str | None) -> dict[str, Any]:
    """Read the dims from shapes; ``last`` is the key of the output layer where the task leaves the classes open.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
    """

    def find(name: str) -> Tensor | None:
        return state.get(keys.checkpoint_name(name))

    def shape(name: str) -> torch.Size:
        return state[keys.checkpoint_name(name)].shape

    head = find_head(task)
    hidden, _, _, patch = shape("prologue.image.projection.weight")
    types = shape("prologue.image_types")[0] - 1  # the first is the text's
    adapter = find("blocks.En0.attention.adapter.down_proj.weight")
    return {
        "hidden": hidden,
        "layers": next(i for i in count() if find(f"blocks.En{i}.mlp.fc1.weight") is None),
        "ffn": shape("blocks.En0.mlp.fc1.weight")[0],
        "patch": patch,
        "position_grid": math.isqrt(shape("prologue.image.positions")[1] - 1),
        "images": head.images,
        "image_types": max(types, head.images) if types else 0,
        "text_vocabulary": shape("prologue.text.word_embeddings.weight")[0],
        "text_positions": shape("prologue.text.position_embeddings.weight")[0],
        "text_types": shape("prologue.text.token_type_embeddings.weight")[0],
        "classes": head.classes or (len(state[last]) if task and last in state else 1),
        "parallel_width": 0 if adapter is None else len(adapter),
    }


def read_public_dims(state: Mapping[str, Tensor], config: Mapping[str, Any], task: str | None) -> ViltDims:
    """Sizes from the tensors; what no shape shows from ``hyper_parameters["config"]``.

    Args:
        state: the checkpoint's tensors under their public names.
        config: ``hyper_parameters["config"]``, {} when the checkpoint has none.
        task: whose head is used; None, or one without a head in the checkpoint, for one output.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
        ValueError, TypeError, IndexError: sizes that make no ViLT.
        InputError: it is shown images by another transform than ViLT's ``pixelbert``.
    """
    check_transform(config, "pixelbert")
    sizes = _sizes(state, PUBLIC_KEYS, f"{PUBLIC.prefix(task)}3.weight" if task else "", task)
    return ViltDims(
        **sizes,
        heads=int(config.get("num_heads", sizes["hidden"] // 64)),
        image_size=int(config.get("image_size", sizes["position_grid"] * sizes["patch"])),
        text_length=min(int(config.get("max_text_len", 40)), sizes["text_positions"]),
        dropout=float(config.get("drop_rate", 0.1)),
    )


def read_hugging_face_dims(state: Mapping[str, Tensor], config: Mapping[str, Any], task: str | None) -> ViltDims:
    """Sizes from the tensors; what no shape shows from ``config.json``.

    Args:
        state: the checkpoint's tensors under Hugging Face's names.
        config: the content of ``config.json``, which leaves out what has its default.
        task: whose head is used; None, or one without a head in the checkpoint, for one output.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
        ValueError, TypeError, IndexError: sizes or settings that make no ViLT.
    """
    from transformers.models.vilt.configuration_vilt import ViltConfig

    settings = ViltConfig.from_dict(dict(config))
    if settings.hidden_act != "gelu":
        raise Unsupported(f"hidden_act is {settings.hidden_act!r}, not gelu")
    sizes = _sizes(state, HUGGING_FACE_KEYS, "classifier.3.weight", task)
    return ViltDims(
        **sizes,
        heads=settings.num_attention_heads,
        image_size=settings.image_size,
        text_length=sizes["text_positions"],
        norm_eps=settings.layer_norm_eps,
        text_norm_eps=settings.layer_norm_eps,
        dropout=settings.hidden_dropout_prob,
    )


def write_hugging_face_config(dims: ViltDims) -> dict[str, Any]:
    """Return what config.json says of a model of these dims.

    It has one epsilon for all norms, see :func:`fit_text_norm`.
    """
    return {
        "hidden_size": dims.hidden,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "intermediate_size": dims.ffn,
        "patch_size": dims.patch,
        "image_size": dims.position_grid * dims.patch,
        "num_images": dims.images,
        "modality_type_vocab_size": 1 + dims.image_types,
        "vocab_size": dims.text_vocabulary,
        "max_position_embeddings": dims.text_positions,
        "type_vocab_size": dims.text_types,
        "layer_norm_eps": dims.norm_eps,
        "hidden_dropout_prob": dims.dropout,
    }


def fit_text_norm(ours: State, dims: ViltDims) -> State:
    """Return tensors whose text embeddings are the same with the encoder's epsilon in their norm.

    A norm of c x with epsilon c^2 e is that of x with e. The public code has 1e-6 in its encoder and 1e-12 here, so its
    embeddings become 1,024 times as large: a power of two, which changes no bit of their mantissas.
    """
    factor = 2.0 ** round(math.log2(dims.norm_eps / dims.text_norm_eps) / 2)
    summed = (
        "prologue.text.word_embeddings.",
        "prologue.text.position_embeddings.",
        "prologue.text.token_type_embeddings.",
    )
    return {name: value * factor if name.startswith(summed) else value for name, value in ours.items()}


def prepare_vilt(ours: State, dims: ViltDims, state: State, task: str | None) -> State:
    """Types and ranking head of a checkpoint that is fine-tuned for another task."""
    return for_another_task(ours, state, task, "prologue.image_types", dims.image_types, PREFIXES["itm"])


def describe_sampling(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence where ViLT's own code would leave out patches of an image at random, in evaluation too."""
    longest = next((config[name] for name in ("max_image_len", "max_image_length") if name in config), None)
    if not isinstance(longest, int) or longest < 0:  # -1, the default, takes all
        return ()
    return (
        f"the checkpoint takes {longest} patches of an image at most, drawn at random where there are more; "
        "das takes them all, so that the same image has the same answer",
    )


_TYPES = TensorPart("prologue.text_type", 0, 1), TensorPart("prologue.image_types", 1, None)
_BLOCK, _ATTENTION, _MLP = "transformer.blocks.{i}.", "blocks.En{i}.attention.", "blocks.En{i}.mlp."
_QKV = ("query", "key", "value")

PUBLIC_KEYS = KeyTable(
    renames=(
        ("text_embeddings.", "prologue.text."),
        ("transformer.patch_embed.proj.", "prologue.image.projection."),
        ("transformer.cls_token", "prologue.image.class_token"),
        ("transformer.pos_embed", "prologue.image.positions"),
        (_BLOCK + "norm1.", _ATTENTION + "norm."),
        (_BLOCK + "attn.proj.", _ATTENTION + "output."),
        (_BLOCK + "adapter0.", _ATTENTION + "adapter."),
        (_BLOCK + "norm2.", _MLP + "norm."),
        (_BLOCK + "adapter1.", _MLP + "adapter."),
        (_BLOCK + "mlp.fc1.", _MLP + "fc1."),
        (_BLOCK + "mlp.fc2.", _MLP + "fc2."),
        ("transformer.norm.", "epilogue.norm."),
        ("pooler.dense.", "epilogue.pooler."),
        ("adapter_list.{i}.0.", "skips.En{i}."),
    ),
    splits=(
        *(
            (
                f"{_BLOCK}attn.qkv.{kind}",
                tuple(TensorPart(f"{_ATTENTION}{name}.{kind}", at, at + 1, of=3) for at, name in enumerate(_QKV)),
            )
            for kind in ("weight", "bias")
        ),
        ("token_type_embeddings.weight", _TYPES),
    ),
)

_LAYER = "vilt.encoder.layer.{i}."

HUGGING_FACE_KEYS = KeyTable(
    renames=(
        ("vilt.embeddings.text_embeddings.", "prologue.text."),
        ("vilt.embeddings.patch_embeddings.projection.", "prologue.image.projection."),
        ("vilt.embeddings.cls_token", "prologue.image.class_token"),
        ("vilt.embeddings.position_embeddings", "prologue.image.positions"),
        (_LAYER + "layernorm_before.", _ATTENTION + "norm."),
        (_LAYER + "adapter0.", _ATTENTION + "adapter."),
        (_LAYER + "adapter1.", _MLP + "adapter."),
        *((f"{_LAYER}attention.attention.{name}.", f"{_ATTENTION}{name}.") for name in _QKV),
        (_LAYER + "attention.output.dense.", _ATTENTION + "output."),
        (_LAYER + "layernorm_after.", _MLP + "norm."),
        (_LAYER + "intermediate.dense.", _MLP + "fc1."),
        (_LAYER + "output.dense.", _MLP + "fc2."),
        ("vilt.layernorm.", "epilogue.norm."),
        ("vilt.pooler.dense.", "epilogue.pooler."),
    ),
    splits=(("vilt.embeddings.token_type_embeddings.weight", _TYPES),),
)


def _head_fits(state: Mapping[str, Tensor], task: str) -> bool:
    """Return whether the head reads as many pooled images as ``task`` has: those of VQA and NLVR2 share their names."""
    if task == "irtr":
        return True
    first, pooler = state.get("classifier.0.weight"), state.get("vilt.pooler.dense.weight")
    return first is not None and pooler is not None and first.shape[-1] == find_head(task).images * len(pooler)


_BUFFERS = Leftover(r"(vilt\.embeddings\.)?text_embeddings\.(position_ids|token_type_ids)$", "a constant buffer")

PUBLIC = Format(
    name="ViLT's or DAS's public code",
    signature=(
        "text_embeddings.word_embeddings.weight",
        "transformer.patch_embed.proj.weight",
        "transformer.blocks.0.attn.qkv.weight",
    ),
    keys=PUBLIC_KEYS,
    heads=PREFIXES,
    other_heads="{task}_classifier.",
    read_dims=read_public_dims,
    leftovers=(
        _BUFFERS,
        Leftover(r"das_gate|skip_num", "search state of the public DAS code"),
        Leftover(
            r"adapter_list\.\d+\.0\.(adapter_layer_norm_before|down_proj|up_proj)\.(weight|bias)$",
            "a skip adapter of a layer that is not there: the public DAS code makes twelve",
        ),
    ),
    heads_by_name={"mlm": "mlm_score.", "mpp": "mpp_score.", "gqa": "gqa_classifier."},
    remarks=describe_sampling,
)

HUGGING_FACE = Format(
    name="Hugging Face",
    signature=(
        "vilt.embeddings.text_embeddings.word_embeddings.weight",
        "vilt.embeddings.patch_embeddings.projection.weight",
        "vilt.encoder.layer.0.attention.attention.query.weight",
    ),
    keys=HUGGING_FACE_KEYS,
    heads={"vqa": "classifier.", "nlvr2": "classifier.", "irtr": "rank_output."},
    read_dims=read_hugging_face_dims,
    model_type="vilt",
    architectures={
        "vqa": "ViltForQuestionAnswering",
        "nlvr2": "ViltForImagesAndTextClassification",
        "irtr": "ViltForImageAndTextRetrieval",
    },
    leftovers=(_BUFFERS,),
    heads_by_name={"mlm": "mlm_score."},
    base_prefix="vilt.",
    read_beside=read_pixels,
    head_fits=_head_fits,
    remarks=describe_sampling,
    library=Library(write_hugging_face_config, write_pixels, fit_text_norm),
)
