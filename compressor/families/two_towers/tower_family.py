"""One declaration for a family of two towers: its dims, and one call of :func:`tower_family`.

The vectors are those of transformers' class, ``text_embeds`` and ``image_embeds``, of length 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.costs.layer_macs import (
    CONVOLUTION,
    NORMS,
    ByKind,
    ModelMacs,
    Place,
    encoder_layer_macs,
    encoder_token_macs,
    norm_macs,
)
from compressor.families.family import PIXEL_VALUES, Family, Input, Output, Pool
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
from compressor.families.two_towers.tower_dims import LAYERS, TEXT, VISION, TowerDims
from compressor.families.two_towers.tower_modules import Projections, Reader, TowerEpilogue, TowerPrologue
from compressor.models.readout import Readout
from compressor.models.rounds import Rounds, Step
from compressor.models.steps import StepModel

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

TASKS = ("retrieval", "zero-shot")
POOLS = (Pool("language", "LEn", 1 / 4), Pool("vision", "VEn", 1 / 4))
SCOPES: Mapping[str, tuple[str, ...]] = {"all": ("language", "vision"), "vision": ("vision",), "text": ("language",)}
VECTORS = Output("embeds", ("batch", "towers", "width"), "embedding")
POSITIONS = "prologue.image.position_embedding.weight"


def head_of(keys: Iterable[tuple[str, str]], splits: Iterable[tuple[str, tuple[TensorPart, ...]]]) -> tuple[str, ...]:
    """Return the checkpoint prefixes of the head's keys."""
    return (*(key for key, ours in keys if ours.startswith(HEAD)), *(key for key, _ in splits))


def both_vectors(answered: Any) -> Tensor:
    """Return the vectors in what transformers' model returns, (B, 2, width)."""
    return torch.stack([answered.text_embeds, answered.image_embeds], dim=1)


def count_layers(dims: TowerDims, kept: Sequence[int]) -> dict[str, Any]:
    """Return what config.json says of each tower, with the number of its layers that are left."""
    text = sum(number < dims.text_layers for number in kept)
    left, towers = {TEXT: text, VISION: len(kept) - text}, dims.library.to_dict()
    return {
        tower: {**dims.config[tower], "model_type": towers[tower]["model_type"], LAYERS: count}
        for tower, count in left.items()
    }


def tower_family(
    name: str,
    dims_type: type[TowerDims],
    *,
    library: str,
    signature: tuple[str, ...],
    keys: tuple[tuple[str, str], ...],
    head_keys: str,
    inputs: tuple[Input, ...],
    text_streams: tuple[str, ...],
    readouts: Mapping[str, Readout],
    text_layer: Callable[[nn.Module], nn.Module],
    vision_layer: Callable[[nn.Module], nn.Module],
    embedded: Callable[[PreTrainedModel], nn.Module],
    project: Callable[[PreTrainedModel], Projections],
    read_to: Callable[[TowerDims], Reader | None],
    head_macs: Callable[[TowerDims, int], ByKind],
    class_tokens: int,
    splits: tuple[tuple[str, tuple[TensorPart, ...]], ...] = (),
    unbuilt: tuple[Unbuilt, ...] = (),
) -> Family:
    """Return a family of two towers whose published checkpoints are transformers' ``...Model``.

    Args:
        name: the family, as users type it.
        dims_type: its dims; the defaults are the published model, and its ``model_type`` is what config.json says.
        library: the library's class.
        signature: tensors that it has, and no other family's.
        keys: further checkpoint prefixes against ours: of the head, and of the norm behind the patches.
        head_keys: prefix of some of the head's keys.
        inputs: of texts.
        text_streams: that a layer of the text tower reads, the one that it writes first.
        readouts: which tokens of the streams ``text`` and ``image`` are read.
        text_layer: a layer of the library to the module of a step.
        vision_layer: the same for images.
        embedded: the library's model to what is done to embedded patches.
        project: the library's model to the head.
        read_to: how much of the token ids is read; None is all.
        head_macs: dims and tokens of an image to the MACs of the norms that are read through, and of the head.
        class_tokens: in front of the patches.
        splits: checkpoint tensors that are several of ours.
        unbuilt: relatives that are refused by name.
    """
    model_type: str = dims_type.model_fields["config"].default["model_type"]

    def rounds(dims: TowerDims) -> Rounds:
        """Return the steps in the order they run."""
        language = [Step(f"LEn{i}", text_streams, ("text",), "language") for i in range(dims.text_layers)]
        vision = [Step(f"VEn{i}", ("image",), ("image",), "vision") for i in range(dims.vision_layers)]
        return tuple((step,) for step in (*language, *vision))

    def build(dims: TowerDims, task: str) -> StepModel:
        """Return the library's model of these dims, randomly initialised, in steps."""
        import transformers

        config = dims.library
        model = getattr(transformers, library)(config)
        text, vision = model.text_model, model.vision_model
        blocks = {f"LEn{i}": text_layer(layer) for i, layer in enumerate(text.encoder.layers)}
        blocks |= {f"VEn{i}": vision_layer(layer) for i, layer in enumerate(vision.encoder.layers)}
        prologue = TowerPrologue(text.embeddings, vision.embeddings, embedded(model), read_to(dims))
        norms = {"text": text.final_layer_norm, "image": vision.post_layernorm}
        epilogue = TowerEpilogue(norms, readouts, project(model))
        return StepModel(name, task, dims, prologue, rounds(dims), blocks, epilogue)

    def read_dims(state: State, config: Mapping[str, Any], task: str | None) -> TowerDims:
        """Sizes from config.json.

        Raises:
            ValueError: settings of another kind of model, or that do not fit the tensors.
        """
        dims = dims_type(config={**config, "model_type": model_type})
        if dims.unsupported:
            raise Unsupported(f"config.json has {dims.unsupported}")
        for tower, layers in (("text", dims.text_layers), ("vision", dims.vision_layers)):
            if any(key.startswith(f"{tower}_model.encoder.layers.{layers}.") for key in state):
                raise ValueError(f"config.json says {layers} layers of the {tower} tower, and the tensors have more")
        sizes = {"classes": dims.width, "image_size": dims.stored_size}
        return dims.model_copy(update={**sizes, "text_length": dims.longest_text})

    def prepare(ours: State, dims: TowerDims, state: State, task: str | None) -> State:
        """Positions at the model's image size."""
        from compressor.families.embeddings import resize_positions

        if POSITIONS not in ours:
            return ours
        resized = resize_positions(ours[POSITIONS], dims.image_size // dims.patch, class_tokens)
        return {**ours, POSITIONS: resized}

    def formula(dims: TowerDims, task: str, patches: tuple[int, int]) -> ModelMacs:
        """Return the MACs of both towers."""
        pixels, patched = dims.vision, patches[0] * patches[1]
        image = patched + class_tokens

        def place(tokens: int, tower: Any) -> Place:
            whole = encoder_layer_macs(tokens, tower.hidden_size, tower.intermediate_size)
            sizes = tokens, tower.hidden_size, tower.intermediate_size, tower.num_attention_heads
            return Place(1, tokens, tower.hidden_size, whole, encoder_token_macs(*sizes, normed=tokens))

        normed = norm_macs(image, pixels.hidden_size) if class_tokens else 0
        return ModelMacs(
            prologue={CONVOLUTION: patched * 3 * dims.patch**2 * pixels.hidden_size, NORMS: normed},
            places={"language": place(dims.text_length, dims.text), "vision": place(image, pixels)},
            head=head_macs(dims, image),
        )

    return Family(
        name=name,
        formats=(
            Format(
                name="Hugging Face",
                signature=signature,
                keys=KeyTable(
                    renames=(
                        *keys,
                        ("text_model.embeddings.", "prologue.text."),
                        ("text_model.encoder.layers.{i}.", "blocks.LEn{i}.layer."),
                        ("text_model.final_layer_norm.", "epilogue.norms.text."),
                        ("vision_model.embeddings.", "prologue.image."),
                        ("vision_model.encoder.layers.{i}.", "blocks.VEn{i}.layer."),
                        ("vision_model.post_layernorm.", "epilogue.norms.image."),
                    ),
                    splits=splits,
                ),
                heads=dict.fromkeys(TASKS, head_keys),
                read_dims=read_dims,
                model_type=model_type,
                architectures=dict.fromkeys(TASKS, library),
                leftovers=(
                    Leftover(r"(text|vision)_model\.embeddings\.position_ids$", "a constant of old transformers"),
                    *(
                        Leftover(re.escape(key), "of the vectors, which are not asked for")
                        for key in head_of(keys, splits)
                    ),
                ),
                unbuilt=unbuilt,
                read_beside=read_settings,
                library=Library(
                    lambda dims: dims.library.to_dict(),
                    write_settings,
                    count_layers=count_layers,
                    read_output=both_vectors,
                    places=False,
                ),
            ),
        ),
        pools=POOLS,
        scopes=SCOPES,
        inputs=(*inputs, PIXEL_VALUES),
        streams={"text": ("text", "text_mask"), "image": ("image",)},
        readout=lambda dims, task: readouts,
        outputs={"embedding": (VECTORS,)},
        dims_type=dims_type,
        rounds=rounds,
        build=build,
        image_transform=image_transform,
        formula=formula,
        prepare=prepare,
        absorbers={pool.name: "layer.mlp.fc2" for pool in POOLS},
    )
