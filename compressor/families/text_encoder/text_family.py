"""One declaration for a family of text encoders that classify: its dims and one call of :func:`encoder_family`.

The forward pass is that of transformers' ``...ForSequenceClassification``. Skip and parallel adapters have a bottleneck
of 32 of 768 (paper, Table C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import nn

from compressor.costs.layer_macs import (
    NORMS,
    PRODUCTS,
    ByKind,
    ModelMacs,
    Place,
    encoder_layer_macs,
    encoder_parts,
    encoder_token_macs,
    norm_macs,
)
from compressor.families.family import (
    ATTENTION_MASK,
    EMBEDDING,
    INPUT_IDS,
    LOGITS,
    MATCH,
    TAGS,
    TOKEN_TYPE_IDS,
    Family,
    Input,
    Pool,
)
from compressor.families.key_mapping import (
    MODULE_KEYS,
    SENTENCE_MODULES,
    Format,
    KeyTable,
    Leftover,
    Library,
    State,
    Unsupported,
    keeps_any,
    no_remarks,
)
from compressor.families.text_encoder.sentence_head import SentenceEpilogue, read_sentence_head
from compressor.families.text_encoder.text_dims import TEXT_LENGTH, TextDims
from compressor.families.text_encoder.text_modules import TextEncoderLayer, TextEpilogue, TextPrologue
from compressor.models.layer_parts import LayerPart
from compressor.models.readout import Readout
from compressor.models.steps import Rounds, Step, StepModel

if TYPE_CHECKING:
    from transformers.modeling_utils import PreTrainedModel

TASK, HEAD_KEYS = "text-classification", "classifier."
EMBED = "embedding"
BOTTLENECK = 1 / 24
TAG, SEQUENCES = "token-classification", "AutoModelForSequenceClassification"
CLASSES = {EMBED: "AutoModel", TAG: "AutoModelForTokenClassification"}  # of the library, by task
ONE_LAYER = "all layers are the same weights, run again: skipping some saves time, and no parameters"

# What a config.json must say, where it says it: everything else would be another network.
_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "is_decoder": (False,),
    "position_embedding_type": ("absolute",),
}


Reads = Callable[[Any, int], tuple[str, ...]]
"""Of dims and the number of a layer: the streams that it reads, first the one that it writes."""


def text_rounds(reads: Reads, dims: TextDims) -> Rounds:
    """Return the steps in the order they run; each writes the first stream that it reads."""
    read = (reads(dims, i) for i in range(dims.layers))
    return tuple((Step(f"En{i}", names, names[:1], "encoder"),) for i, names in enumerate(read))


def text_encoder_macs(dims: TextDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of an encoder like BERT with a dense layer on token 0 and a classifier."""
    d, embedded, tokens = dims.hidden, dims.embedded, dims.text_length
    whole = encoder_layer_macs(tokens, d, dims.ffn)
    first = encoder_token_macs(tokens, d, dims.ffn, dims.heads, normed=1)
    return ModelMacs(
        prologue={NORMS: norm_macs(tokens, embedded), PRODUCTS: tokens * embedded * d if embedded != d else 0},
        places={"encoder": Place(1, tokens, d, whole, first, 1, encoder_parts(tokens, d, dims.ffn, dims.heads, 1))},
        head=head_macs(dims, task),
    )


def head_macs(dims: TextDims, task: str) -> ByKind:
    """Return the MACs of a dense layer and a classifier, of a classifier of every token, or of a text's vector."""
    d = dims.hidden
    if task == TAG:
        return {PRODUCTS: dims.text_length * d * dims.classes}
    widths = dims.sentence_head.widths(d) if task == EMBED else (d, d, dims.classes)
    return {PRODUCTS: sum(one * other for one, other in pairwise(widths))}


def read_first(dims: TextDims, task: str) -> Readout:
    """Return that token 0 is read: the default ``readout``."""
    return "first"


def encoder_family(
    name: str,
    dims_type: type[TextDims],
    pooler: Callable[[PreTrainedModel], nn.Module],
    class_rows: str,
    *,
    library: str,
    prefix: str = "",
    signature: tuple[str, ...] = ("word_embeddings.weight", "LayerNorm.weight"),
    layers: str = "encoder.layer",
    one_layer: bool = False,
    norm: str = "",
    keys: tuple[tuple[str, str], ...] = (),
    other_heads: Mapping[str, str] | None = None,
    inputs: tuple[Input, ...] = (INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS),
    streams: tuple[str, ...] = ("hidden", "mask"),
    reads: Reads | None = None,
    prologue: Callable[[PreTrainedModel], nn.Module] = TextPrologue,
    block: Callable[[nn.Module, TextDims], nn.Module] = TextEncoderLayer,
    token_pooler: Callable[[PreTrainedModel], nn.Module] = lambda model: model.dropout,
    readout: Callable[[Any, str], Readout] = read_first,
    formula: Callable[[Any, str, tuple[int, int]], ModelMacs] | None = None,
    library_keeps: Callable[[Any, Sequence[int]], bool] = keeps_any,
    absorber: str = "",
    parts: tuple[LayerPart, ...] = (),
) -> Family:
    """Return a family of encoders whose published checkpoints are transformers' ``...ForSequenceClassification``.

    Args:
        name: the family, as users type it.
        dims_type: its dims; the defaults are the published model, and its ``model_type`` is what config.json says.
        pooler: the library's model to the module between what is read of the tokens and its ``classifier``.
        class_rows: key of the head's tensor that has one row for each class.
        library: what its class is called before ``ForSequenceClassification``.
        prefix: of the backbone's keys, without the dot (the library's ``base_model_prefix``); ``name`` where left out.
        signature: tensors that its embeddings have, and those of no other family with the same ``prefix``.
        layers: path of the list of layers in the library's backbone.
        one_layer: whether the list has one layer, which is run as often as the configuration counts layers.
        norm: path of the norm behind the last layer; empty where there is none.
        keys: further checkpoint prefixes against ours: of the pooler's tensors, ``epilogue.pooler.``, and of what the
            prologue has beside the embeddings.
        other_heads: prefixes of heads of other tasks, by task.
        inputs: what the embeddings read, and the mask.
        streams: what the prologue makes: the one that the layers write, and others.
        reads: dims and the number of a layer to the streams that it reads, the one that it writes first; None is all.
        prologue: the library's backbone to the module that makes the streams of the inputs.
        block: a layer of the library, and the dims, to the module of a step.
        token_pooler: the library's ``...ForTokenClassification`` to the module between tokens and ``classifier``.
        readout: dims and task to which tokens the pooler reads, (B, 1, D), or (B, L, D) where it is all of them. What
            it reads of them in the end, token 0 alone say, is part of it: with ``readout`` it is all that the model
            computes.
        formula: its MACs, see :class:`Family`.
        library_keeps: see :class:`Library`.
        absorber: path in a layer, see :class:`Family`; empty where a norm comes last.
        parts: of a layer, see :class:`Family`.
    """
    model_type: str = dims_type.model_fields["config"].default["model_type"]
    prefix = prefix or name
    layer = f"{prefix}.{layers}.{{i}}."
    rounds = partial(text_rounds, reads or (lambda dims, i: streams))

    def read(dims: TextDims, task: str) -> Readout:
        """Return which tokens the epilogue reads."""
        if task == EMBED:
            return dims.sentence_head.readout
        return "all" if task == TAG else readout(dims, task)

    def build(dims: TextDims, task: str) -> StepModel:
        """Return the library's model of these dims, randomly initialised, in steps.

        Raises:
            ValueError: settings that the library cannot build.
        """
        from transformers.models.auto import modeling_auto

        try:
            model = getattr(modeling_auto, CLASSES.get(task, SEQUENCES)).from_config(dims.library)
        except (KeyError, AssertionError, AttributeError) as error:
            raise ValueError(f"transformers cannot build its config.json: {error}") from None
        parts = [*model.base_model.get_submodule(layers)] * (dims.layers if one_layer else 1)
        blocks = {f"En{i}": block(part, dims) for i, part in enumerate(parts)}
        last = model.base_model.get_submodule(norm) if norm else None
        if task == EMBED:
            epilogue: nn.Module = SentenceEpilogue(dims.sentence_head, dims.hidden, last)
        else:
            reader = (token_pooler if task == TAG else pooler)(model)
            epilogue = TextEpilogue(reader, model.classifier, read(dims, task), last)
        return StepModel(name, task, dims, prologue(model.base_model), rounds(dims), blocks, epilogue)

    def read_dims(state: State, config: Mapping[str, Any], task: str | None) -> TextDims:
        """Sizes from config.json, classes from the head's tensor.

        Raises:
            ValueError: settings of another kind of model, or that do not fit the tensors.
        """
        for setting, allowed in _SUPPORTED.items():
            if config.get(setting, allowed[0]) not in allowed:
                raise Unsupported(f"config.json has {setting} {config[setting]!r}")
        dims = dims_type(config={**config, "model_type": model_type})
        if dims.unsupported:
            raise Unsupported(f"config.json has {dims.unsupported}")
        if any(key.startswith(layer.format(i=dims.layers)) for key in state):
            raise ValueError(f"config.json says {dims.layers} layers, and the tensors have more")
        adapters = [len(tensor) for key, tensor in state.items() if key.endswith(".adapter.down_proj.weight")]
        rows = "classifier.weight" if task == TAG else class_rows
        classes = len(state[rows]) if task and rows in state else dims.classes
        sentence = read_sentence_head(config[SENTENCE_MODULES]) if task == EMBED else None
        return dims.model_copy(
            update={
                "classes": sentence.widths(dims.hidden)[-1] if sentence else classes,
                "sentence": sentence,
                "text_length": min(TEXT_LENGTH, dims.longest_text),
                "parallel_width": adapters[0] if adapters else 0,
            }
        )

    return Family(
        unmasked=True,
        name=name,
        formats=(
            Format(
                name="Hugging Face",
                signature=tuple(f"{prefix}.embeddings.{tensor}" for tensor in signature),
                keys=KeyTable(
                    renames=(
                        *keys,
                        (f"{prefix}.embeddings.", "prologue.embeddings."),
                        (f"{prefix}.embeddings_project.", "prologue.project."),
                        (layer + "adapter.", "blocks.En{i}.adapter."),
                        (layer, "blocks.En{i}.layer."),
                        *(((f"{prefix}.{norm}.", "epilogue.norm."),) if norm else ()),
                    )
                ),
                heads={TASK: HEAD_KEYS, EMBED: MODULE_KEYS, TAG: HEAD_KEYS},
                head_fits=lambda state, task: task != TAG,  # a head of both kinds may have the same tensors
                read_dims=read_dims,
                model_type=model_type,
                architectures={
                    TASK: f"{library}ForSequenceClassification",
                    EMBED: f"{library}Model",
                    TAG: f"{library}ForTokenClassification",
                },
                other_heads=HEAD_KEYS,
                other_architecture=f"{library}ForSequenceClassification",
                leftovers=(
                    Leftover(
                        rf"{prefix}\.embeddings\.(position_ids|token_type_ids)$",
                        "a constant buffer of old transformers",
                    ),
                    Leftover(rf"{prefix}\.pooler\.", "a pooler that the head does not read"),
                ),
                heads_by_name=other_heads or {},
                remarks=(lambda state, config: (ONE_LAYER,)) if one_layer else no_remarks,
                base_prefix=f"{prefix}.",
                library=Library(lambda dims: dims.config, keeps=library_keeps, places=not one_layer),
            ),
        ),
        pools=(Pool("encoder", "En", BOTTLENECK),),
        scopes={"encoder": ("encoder",)},
        inputs=inputs,
        streams={"text": streams},
        readout=lambda dims, task: {streams[0]: read(dims, task)},
        outputs={"classes": (LOGITS,), "score": (MATCH,), "embedding": (EMBEDDING,), "tags": (TAGS,)},
        dims_type=dims_type,
        rounds=rounds,
        build=build,
        formula=formula,
        absorbers={"encoder": absorber} if absorber else {},
        parts={"encoder": parts} if parts else {},
        parallel_fraction=BOTTLENECK,
    )
