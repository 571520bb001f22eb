"""Sizes of a text encoder: the library's configuration, and how long texts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from compressor.architectures.architecture import MOST_LAYERS
from compressor.families.text_encoder.sentence_head import SentenceHead
from compressor.values import Value

if TYPE_CHECKING:
    from transformers.configuration_utils import PretrainedConfig

TEXT_LENGTH = 128
MOST_CLASSES = 1_000_000  # the library gives each a name, whatever the number


class TextDims(Value):
    """Sizes of a text encoder.

    ``config`` holds the library's settings of the architecture, ``model_type`` among them; what is left out gets the
    library's default. ``text_length`` is the most tokens a text is cut to, 128 as GLUE recipes do (the paper's Table C
    counts 512). ``parallel_width`` is the bottleneck of the adapters beside the layers, 0 when there are none.
    ``sentence`` is what makes a vector of an embedder's tokens, ``classes`` the width of that; None of other models.
    """

    model_config = ConfigDict(validate_default=True)
    older_settings: ClassVar[tuple[str, ...]] = ()  # names of older versions of the library, which it still reads
    undeclared_settings: ClassVar[tuple[str, ...]] = ()  # what the library's modules read, and its class does not list

    config: Mapping[str, Any]
    classes: int = Field(default=2, ge=1, le=MOST_CLASSES)
    images: NonNegativeInt = 0
    text_length: PositiveInt = TEXT_LENGTH
    parallel_width: NonNegativeInt = 0
    sentence: SentenceHead | None = None

    @field_validator("config")
    @classmethod
    def _complete(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings that the library's class declares, without labels, versions and the like."""
        from huggingface_hub.errors import StrictDataclassError
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        kind = CONFIG_MAPPING[config["model_type"]]
        known = {*kind.__annotations__, *cls.older_settings, *cls.undeclared_settings}
        try:
            settings = kind(**{name: value for name, value in config.items() if name in known})
        except StrictDataclassError as error:
            raise ValueError(" ".join(str(error).split())) from None
        if settings.hidden_size % settings.num_attention_heads:
            raise ValueError(
                f"{settings.num_attention_heads} attention heads do not divide a width of {settings.hidden_size}"
            )
        if not 1 <= settings.num_hidden_layers <= MOST_LAYERS:
            raise ValueError(f"{settings.num_hidden_layers} layers are not 1 to {MOST_LAYERS}")
        undeclared = {name: config[name] for name in cls.undeclared_settings if name in config}
        declared = {name: getattr(settings, name) for name in kind.__annotations__}
        return {"model_type": config["model_type"]} | declared | undeclared

    @property
    def unsupported(self) -> str:
        """What of the settings makes another network than das computes; empty where nothing does."""
        return ""

    @property
    def sentence_head(self) -> SentenceHead:
        """What makes a vector of the tokens; where nothing says so their mean, as in sentence-transformers."""
        return self.sentence or SentenceHead()

    @property
    def library(self) -> PretrainedConfig:
        """The configuration for transformers."""
        from transformers.models.auto.configuration_auto import AutoConfig

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
    def embedded(self) -> int:
        """Width of the embeddings; where it is another than that of the stream, they are projected."""
        return getattr(self.library, "embedding_size", self.hidden)

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
    def prompts(self) -> Mapping[str, str]:
        """What texts that are embedded begin with, by name; '' names the default, where there is one."""
        if self.sentence is None:
            return {}
        said = self.sentence
        default = said.prompts.get(said.default_prompt or "", "")
        return {**said.prompts, **({"": default} if default else {})}

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.library.max_position_embeddings


class RobertaDims(TextDims):
    """Sizes of a RoBERTa (Liu et al., 2019) or a relative of it; the defaults are roberta-base with two classes."""

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
