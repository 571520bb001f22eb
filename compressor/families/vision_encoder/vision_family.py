"""One declaration for a family of vision encoders that classify: its dims and one call of :func:`vision_family`.

The forward pass is that of transformers' ``...ForImageClassification``. Norms come first, so what skipped layers did
can be merged into the layer in front of them. Skip adapters have a bottleneck of a fourth, as METER's vision encoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from compressor.costs.layer_macs import (
    CONVOLUTION,
    NORMS,
    PRODUCTS,
    ModelMacs,
    Place,
    encoder_layer_macs,
    encoder_parts,
    encoder_token_macs,
    norm_macs,
)
from compressor.families.embeddings import resize_positions
from compressor.families.family import PIXEL_VALUES, Family, Pool
from compressor.families.key_mapping import HEAD, Format, KeyTable, Leftover, Library, State, TensorPart, Unsupported
from compressor.families.square_images import image_transform, read_settings, write_settings
from compressor.families.vision_encoder.vision_dims import VisionDims
from compressor.families.vision_encoder.vision_modules import (
    MergingVitLayer,
    VisionEpilogue,
    VisionPrologue,
    VitEncoderLayer,
)
from compressor.models.layer_parts import LayerPart
from compressor.models.readout import Readout
from compressor.models.steps import Rounds, StepModel
from compressor.token_merging.merge_schedule import merging_places, merging_rounds

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

TASK = "image-classification"
ONE_HEAD: Mapping[str, str] = {"classifier.": HEAD}
EMBEDDINGS = ("cls_token", "patch_embeddings.projection.weight")
POOL = Pool("vision", "VEn", 1 / 4)
POSITIONS = "prologue.embeddings.position_embeddings"
OTHER_PROBLEMS = ("regression", "multi_label_classification")


def vision_rounds(dims: VisionDims) -> Rounds:
    """Return the steps in the order they run."""
    return merging_rounds(dims.layers, dims.merged_tokens, POOL.name)


def vision_macs(dims: VisionDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a ViT with a classifier on the class token."""
    d, count = dims.hidden, patches[0] * patches[1]
    tokens = count + dims.special
    whole = encoder_layer_macs(tokens, d, dims.ffn)
    first = encoder_token_macs(tokens, d, dims.ffn, dims.heads, normed=tokens)
    return ModelMacs(
        prologue={CONVOLUTION: count * 3 * dims.patch**2 * d},
        places={
            POOL.name: Place(
                1, tokens, d, whole, first, 1, encoder_parts(tokens, d, dims.ffn, dims.heads, normed=tokens)
            ),
            **merging_places(1, tokens, dims.merged_tokens, (d, dims.ffn, dims.heads)),
        },
        head={PRODUCTS: d * dims.classes, NORMS: norm_macs(1, d)},
    )


def fit_positions(antialias: bool, ours: State, dims: VisionDims, state: State, task: str | None) -> State:
    """Return ``ours`` with positions for the images that the model sees, interpolated as the library does it."""
    side = dims.image_size // dims.patch
    if POSITIONS not in ours or side == dims.stored_grid:
        return ours
    (positions,) = ours[POSITIONS].float()
    return {**ours, POSITIONS: resize_positions(positions, side, dims.special, antialias)[None]}


def vision_family(
    name: str,
    dims_type: type[VisionDims],
    *,
    library: str,
    keys: tuple[tuple[str, str], ...],
    prefix: str = "",
    signature: tuple[str, ...] = (),
    layers: str = "layers",
    splits: tuple[tuple[str, tuple[TensorPart, ...]], ...] = (),
    block: Callable[[nn.Module, Any], nn.Module] = VitEncoderLayer,
    epilogue: Callable[[PreTrainedModel], nn.Module] = VisionEpilogue,
    heads: Mapping[str, str] = ONE_HEAD,
    architecture: str = "",
    readout: Readout = "first",
    antialias: bool = False,
    formula: Callable[[Any, str, tuple[int, int]], ModelMacs] | None = vision_macs,
    absorber: str = "layer.mlp.fc2",
    merging: str = "",
    parts: tuple[LayerPart, ...] = (),
) -> Family:
    """Return a family of encoders whose published checkpoints are transformers' ``...ForImageClassification``.

    Args:
        name: the family, as users type it.
        dims_type: its dims; the defaults are the published model, and its ``model_type`` is what config.json says.
        library: what its class is called before ``ForImageClassification``.
        keys: of a layer, checkpoint prefixes against the library's own names; others are the same.
        prefix: of the backbone's keys, without the dot (the library's ``base_model_prefix``); ``name`` where left out.
        signature: tensors beside those of the embeddings that no other family with the same ``model_type`` has.
        layers: path of the list of layers in the library's backbone.
        splits: of a layer, checkpoint tensors that are several of the library's.
        block: a layer of the library, and the dims, to the module of a step.
        epilogue: the library's ``...ForImageClassification`` to the module that reads the stream.
        heads: prefix of the keys of each part of the head, against ours.
        architecture: the library's class, where it has another name.
        readout: which tokens it reads.
        antialias: how the library interpolates positions.
        formula: its MACs, see :class:`Family`.
        absorber: path in a layer, see :class:`Family`.
        merging: see :class:`Family`; its layers have ViT's layout, and one token in front of the patches.
        parts: of a layer, see :class:`Family`.
    """
    model_type: str = dims_type.model_fields["config"].default["model_type"]
    prefix = prefix or name
    layer = f"{prefix}.encoder.layer.{{i}}."
    architecture = architecture or f"{library}ForImageClassification"
    head_keys = next(iter(heads))

    def build(dims: VisionDims, task: str) -> StepModel:
        """Return the library's model of these dims, randomly initialised, in steps.

        Raises:
            ValueError: settings that the library cannot build.
        """
        import transformers

        try:
            config = transformers.AutoConfig.for_model(**dims.built_config, num_labels=dims.classes)
            model = getattr(transformers, architecture)(config)
        except (KeyError, AssertionError, AttributeError) as error:
            raise ValueError(f"transformers cannot build its config.json: {error}") from None
        parts = tuple(model.base_model.get_submodule(layers))
        blocks = {f"VEn{i}": block(part, dims) for i, part in enumerate(parts)}
        blocks |= {f"VEn{i}": MergingVitLayer(parts[i], dims, n) for i, n in enumerate(dims.merged_tokens)}
        prologue = VisionPrologue(model.base_model)
        return StepModel(name, task, dims, prologue, vision_rounds(dims), blocks, epilogue(model))

    def read_dims(state: State, config: Mapping[str, Any], task: str | None) -> VisionDims:
        """Sizes from config.json, classes from the head's tensor.

        Raises:
            ValueError: settings of another kind of model, or that do not fit the tensors.
        """
        if task and config.get("problem_type") in OTHER_PROBLEMS:
            raise Unsupported(f"config.json has problem_type {config['problem_type']}")
        dims = dims_type(config={**config, "model_type": model_type})
        if dims.unsupported:
            raise Unsupported(f"config.json has {dims.unsupported}")
        if any(key.startswith(layer.format(i=dims.layers)) for key in state):
            raise ValueError(f"config.json says {dims.layers} layers, and the tensors have more")
        adapters = [len(tensor) for key, tensor in state.items() if key.endswith(".adapter.down_proj.weight")]
        head = state.get(f"{head_keys}weight") if task else None
        return dims.model_copy(
            update={
                "classes": dims.classes if head is None else len(head),
                "parallel_width": adapters[0] if adapters else 0,
            }
        )

    def named(part: TensorPart) -> TensorPart:
        return replace(part, target=f"blocks.VEn{{i}}.layer.{part.target}")

    return Family(
        name=name,
        formats=(
            Format(
                name="Hugging Face",
                signature=(*(f"{prefix}.embeddings.{tensor}" for tensor in EMBEDDINGS), *signature),
                keys=KeyTable(
                    renames=(
                        (f"{prefix}.embeddings.", "prologue.embeddings."),
                        (layer + "adapter.", "blocks.VEn{i}.adapter."),
                        *((layer + theirs, f"blocks.VEn{{i}}.layer.{ours}") for theirs, ours in keys),
                        (layer, "blocks.VEn{i}.layer."),
                        (f"{prefix}.layernorm.", "epilogue.norm."),
                        *heads.items(),
                    ),
                    splits=tuple((layer + key, tuple(map(named, tensors))) for key, tensors in splits),
                ),
                heads={TASK: head_keys},
                read_dims=read_dims,
                model_type=model_type,
                architectures={TASK: architecture},
                other_heads=head_keys,
                other_architecture=architecture,
                leftovers=(
                    Leftover(rf"{prefix}\.pooler\.", "a pooler that the head does not read"),
                    Leftover(rf"{prefix}\.embeddings\.mask_token$", "what stands for masked patches in pre-training"),
                    *(Leftover(re.escape(key), "a part of a head for other classes") for key in (*heads,)[1:]),
                ),
                heads_by_name={"masked-images": "decoder."},
                base_prefix=f"{prefix}.",
                read_beside=read_settings,
                library=Library(lambda dims: dims.built_config, write_settings),
            ),
        ),
        pools=(POOL,),
        scopes={POOL.name: (POOL.name,)},
        inputs=(PIXEL_VALUES,),
        streams={"image": ("image", "image_mask")},
        readout=lambda dims, task: {"image": readout},
        dims_type=dims_type,
        rounds=vision_rounds,
        build=build,
        image_transform=image_transform,
        formula=formula,
        prepare=partial(fit_positions, antialias),
        absorbers={POOL.name: absorber},
        merging=merging,
        parts={POOL.name: parts} if parts else {},
    )
