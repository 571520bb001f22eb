"""Text encoders that classify: the library's own embeddings, layers and heads, taken apart into steps.

A family is one declaration: its dims and one call of :func:`encoder_family`. The forward pass is that of transformers'
``...ForSequenceClassification``. Skip and parallel adapters have a bottleneck of 32 of 768 (paper, Table C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator
from torch import Tensor, nn
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    AutoModelForSequenceClassification,
)
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings, RobertaLayer

from compressor.architectures.architecture import MOST_LAYERS
from compressor.costs.layer_macs import (
    NORMS,
    PRODUCTS,
    ModelMacs,
    Place,
    encoder_layer_macs,
    encoder_token_macs,
    norm_macs,
)
from compressor.families.embeddings import untyped_roberta
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS, Family, Input, Pool
from compressor.families.key_mapping import Format, KeyTable, Leftover, State
from compressor.models.adapters import Adapter
from compressor.models.readout import Readout, read_tokens
from compressor.models.single_query import one_token_of
from compressor.models.steps import Pick, Rounds, Step, StepModel, Streams
from compressor.values import Value

TASK, HEAD_KEYS = "text-classification", "classifier."
BOTTLENECK = 1 / 24
TEXT_LENGTH = 128
MOST_CLASSES = 1_000_000  # the library gives each a name, whatever the number

# What a config.json must say, where it says it: everything else would be another network, or another loss.
_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "is_decoder": (False,),
    "position_embedding_type": ("absolute",),
    "problem_type": (None, "single_label_classification"),
}


class TextDims(Value):
    """Sizes of a text encoder.

    ``config`` holds the library's settings of the architecture, ``model_type`` among them; what is left out gets the
    library's default. ``text_length`` is the most tokens a text is cut to, 128 as GLUE recipes do (the paper's Table C
    counts 512). ``parallel_width`` is the bottleneck of the adapters beside the layers, 0 when there are none.
    """

    model_config = ConfigDict(validate_default=True)

    config: Mapping[str, Any]
    classes: int = Field(default=2, ge=1, le=MOST_CLASSES)
    images: NonNegativeInt = 0
    text_length: PositiveInt = TEXT_LENGTH
    parallel_width: NonNegativeInt = 0

    @field_validator("config")
    @classmethod
    def _complete(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings that the library's class declares, without labels, versions and the like."""
        kind = CONFIG_MAPPING[config["model_type"]]
        try:
            settings = kind(**{name: value for name, value in config.items() if name in kind.__annotations__})
        except StrictDataclassError as error:
            raise ValueError(" ".join(str(error).split())) from None
        if settings.hidden_size % settings.num_attention_heads:
            raise ValueError(
                f"{settings.num_attention_heads} attention heads do not divide a width of {settings.hidden_size}"
            )
        if not 1 <= settings.num_hidden_layers <= MOST_LAYERS:
            raise ValueError(f"{settings.num_hidden_layers} layers are not 1 to {MOST_LAYERS}")
        return {"model_type": config["model_type"]} | {name: getattr(settings, name) for name in kind.__annotations__}

    @property
    def library(self) -> PretrainedConfig:
        """The configuration for transformers."""
        return AutoConfig.for_model(**self.config, num_labels=self.classes)

    @property
    def hidden(self) -> int:
        """Width of the stream."""
        return self.library.hidden_size

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.library.num_hidden_layers

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.library.num_attention_heads

    @property
    def ffn(self) -> int:
        """Inner width of the feed-forward part."""
        return self.library.intermediate_size

    @property
    def text_vocabulary(self) -> int:
        """Rows of the word embedding."""
        return self.library.vocab_size

    @property
    def text_types(self) -> int:
        """Token types: rows of their embedding, 1 without one."""
        return getattr(self.library, "type_vocab_size", 1)

    @property
    def text_padding(self) -> int | None:
        """Id of the padding token."""
        return self.library.pad_token_id

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.library.max_position_embeddings


class TextPrologue(nn.Module):
    """Token ids to the first ``hidden`` stream and the ``mask``."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.embeddings: nn.Module = backbone.embeddings
        self.project = getattr(backbone, "embeddings_project", nn.Identity())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Tensor) -> Streams:
        """Take (B, L) int64 each; make ``hidden`` (B, L, D) and ``mask`` (B, 1, 1, L) bool, True at tokens."""
        hidden = self.project(self.embeddings(input_ids=input_ids, **others))
        return {"hidden": hidden, "mask": attention_mask[:, None, None, :].bool()}

    def fold_constants(self) -> None:
        """Add the token type to the positions where it is no input: RoBERTa's."""
        if isinstance(self.embeddings, RobertaEmbeddings):
            self.embeddings = untyped_roberta(self.embeddings)


class TextEncoderLayer(nn.Module):
    """A layer of the library, and a parallel adapter beside the whole of it when ``parallel_width`` is not 0."""

    def __init__(self, layer: nn.Module, dims: TextDims) -> None:
        super().__init__()
        self.layer = layer
        self.adapter = Adapter(dims.hidden, dims.parallel_width) if dims.parallel_width else None

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) and (B, 1, 1, L) -> (B, L, D)."""
        out = self.layer(hidden, mask)
        return out if self.adapter is None else out + self.adapter(hidden)


class BertEncoderLayer(TextEncoderLayer):
    """The same with a layer of BERT's or RoBERTa's, which can compute one token alone."""

    def one_token(self, pick: Pick, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        out = one_token_of(self.layer, pick, hidden, mask)
        return out if self.adapter is None else out + self.adapter(pick(hidden))


class TextEpilogue(nn.Module):
    """What is read of the stream to the head, by way of the pooler."""

    def __init__(self, pooler: nn.Module, head: nn.Module, readout: Readout = "first") -> None:
        super().__init__()
        self.pooler, self.head, self.readout = pooler, head, readout

    def forward(self, streams: Streams) -> Tensor:
        """Return the logits, (B, classes)."""
        return self.head(self.pooler(read_tokens(streams, "hidden", self.readout)))


def _layer(layer: nn.Module, dims: TextDims) -> TextEncoderLayer:
    kind = BertEncoderLayer if isinstance(layer, BertLayer | RobertaLayer) else TextEncoderLayer
    return kind(layer, dims)


def text_rounds(dims: TextDims) -> Rounds:
    """Return the steps in the order they run."""
    return tuple((Step(f"En{i}", ("hidden", "mask"), ("hidden",), "encoder"),) for i in range(dims.layers))


def text_encoder_macs(dims: TextDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a RoBERTa or BERT: an encoder, a dense layer on token 0, a classifier."""
    d, tokens = dims.hidden, dims.text_length
    whole = encoder_layer_macs(tokens, d, dims.ffn)
    first = encoder_token_macs(tokens, d, dims.ffn, dims.heads, normed=1)
    return ModelMacs(
        prologue={NORMS: norm_macs(tokens, d)},
        places={"encoder": Place(1, tokens, d, whole, first, 1)},
        head={PRODUCTS: d**2 + d * dims.classes},
    )


def encoder_family(
    name: str,
    dims_type: type[TextDims],
    pooler: Callable[[PreTrainedModel], nn.Module],
    class_rows: str,
    pooler_keys: tuple[tuple[str, str], ...] = (),
    layers: str = "encoder.layer",
    inputs: tuple[Input, ...] = (INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS),
    other_heads: Mapping[str, str] | None = None,
    readout: Readout = "first",
    formula: Callable[[Any, str, tuple[int, int]], ModelMacs] | None = None,
) -> Family:
    """Return a family of encoders whose published checkpoints are transformers' ``...ForSequenceClassification``.

    Args:
        name: the family, which is also the library's ``model_type`` and the prefix of the backbone's keys.
        dims_type: its dims; the defaults are the published model.
        pooler: the library's model to the module between what is read of the tokens and its ``classifier``.
        class_rows: key of the head's tensor that has one row for each class.
        pooler_keys: checkpoint prefixes of the pooler's tensors against ours.
        layers: path of the list of layers in the library's backbone.
        inputs: what the embeddings read, and the mask.
        other_heads: prefixes of heads of other tasks, by task.
        readout: which tokens the pooler reads, (B, 1, D), or (B, L, D) where it is all of them.
        formula: its MACs, see :class:`Family`.
    """
    layer = f"{name}.{layers}.{{i}}."

    def build(dims: TextDims, task: str) -> StepModel:
        """Return the library's model of these dims, randomly initialised, in steps.

        Raises:
            ValueError: settings that the library cannot build.
        """
        try:
            model = AutoModelForSequenceClassification.from_config(dims.library, attn_implementation="sdpa")
        except (KeyError, AssertionError) as error:
            raise ValueError(f"transformers cannot build its config.json: {error}") from None
        parts = enumerate(model.base_model.get_submodule(layers))
        blocks = {f"En{i}": _layer(part, dims) for i, part in parts}
        epilogue = TextEpilogue(pooler(model), model.classifier, readout)
        return StepModel(name, task, dims, TextPrologue(model.base_model), text_rounds(dims), blocks, epilogue)

    def read_dims(state: State, config: Mapping[str, Any], task: str | None) -> TextDims:
        """Sizes from config.json, classes from the head's tensor.

        Raises:
            ValueError: settings of another kind of model, or that do not fit the tensors.
        """
        for setting, allowed in _SUPPORTED.items():
            if config.get(setting, allowed[0]) not in allowed:
                raise ValueError(f"config.json has {setting} {config[setting]!r}, which das does not support")
        dims = dims_type(config={**config, "model_type": name})
        if any(key.startswith(layer.format(i=dims.layers)) for key in state):
            raise ValueError(f"config.json says {dims.layers} layers, and the tensors have more")
        adapters = [len(tensor) for key, tensor in state.items() if key.endswith(".adapter.down_proj.weight")]
        classes = len(state[class_rows]) if task and class_rows in state else dims.classes
        return dims.model_copy(
            update={
                "classes": classes,
                "text_length": min(TEXT_LENGTH, dims.longest_text),
                "parallel_width": adapters[0] if adapters else 0,
            }
        )

    return Family(
        name=name,
        formats=(
            Format(
                name="Hugging Face",
                signature=(f"{name}.embeddings.word_embeddings.weight", f"{name}.embeddings.LayerNorm.weight"),
                keys=KeyTable(
                    renames=(
                        (f"{name}.embeddings.", "prologue.embeddings."),
                        (f"{name}.embeddings_project.", "prologue.project."),
                        (layer + "adapter.", "blocks.En{i}.adapter."),
                        (layer, "blocks.En{i}.layer."),
                        *pooler_keys,
                    )
                ),
                heads={TASK: HEAD_KEYS},
                read_dims=read_dims,
                model_type=name,
                architectures={TASK: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[name]},
                other_heads=HEAD_KEYS,
                other_architecture=MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[name],
                leftovers=(
                    Leftover(
                        rf"{name}\.embeddings\.(position_ids|token_type_ids)$", "a constant buffer of old transformers"
                    ),
                    Leftover(rf"{name}\.pooler\.", "a pooler that the classification head does not read"),
                ),
                heads_by_name=other_heads or {},
                base_prefix=f"{name}.",
            ),
        ),
        pools=(Pool("encoder", "En", BOTTLENECK),),
        scopes={"encoder": ("encoder",)},
        inputs=inputs,
        streams={"text": ("hidden", "mask")},
        readout={"hidden": readout},
        dims_type=dims_type,
        rounds=text_rounds,
        build=build,
        formula=formula,
        parallel_fraction=BOTTLENECK,
    )


class BertDims(TextDims):
    """Sizes of a BERT (Devlin et al., NAACL 2019); the defaults are bert-base-uncased with two classes."""

    config: Mapping[str, Any] = {"model_type": "bert"}


class RobertaDims(TextDims):
    """Sizes of a RoBERTa (Liu et al., 2019); the defaults are roberta-base with two classes."""

    config: Mapping[str, Any] = {
        "model_type": "roberta",
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have: positions are counted from the one after the padding token's."""
        return self.library.max_position_embeddings - self.library.pad_token_id - 1


BERT = encoder_family(
    "bert",
    BertDims,
    pooler=lambda model: nn.Sequential(model.bert.pooler, model.dropout),
    pooler_keys=(("bert.pooler.", "epilogue.pooler.0."),),
    formula=text_encoder_macs,
    class_rows="classifier.weight",
    other_heads={
        "mlm": "cls.predictions.",
        "next-sentence": "cls.seq_relationship.",
        "question-answering": "qa_outputs.",
    },
)

ROBERTA = encoder_family(
    "roberta",
    RobertaDims,
    pooler=lambda model: nn.Identity(),
    class_rows="classifier.out_proj.weight",
    formula=text_encoder_macs,
    inputs=(INPUT_IDS, ATTENTION_MASK),
    other_heads={"mlm": "lm_head.", "question-answering": "qa_outputs."},
)
