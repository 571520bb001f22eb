"""Sizes of an encoder that transformers has a configuration for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, Field, NonNegativeInt, field_validator

from compressor.architectures.architecture import MOST_LAYERS
from compressor.values import Value

if TYPE_CHECKING:
    from transformers.configuration_utils import PretrainedConfig

MOST_CLASSES = 1_000_000  # the library gives each a name, whatever the number


class LibraryDims(Value):
    """Sizes of an encoder of transformers.

    ``config`` holds the library's settings of the architecture, ``model_type`` among them; what is left out gets the
    library's default. ``parallel_width`` is the bottleneck of the adapters beside the layers, 0 when there are none.
    """

    model_config = ConfigDict(validate_default=True)
    older_settings: ClassVar[tuple[str, ...]] = ()  # names of older versions of the library, which it still reads
    undeclared_settings: ClassVar[tuple[str, ...]] = ()  # what the library's modules read, and its class does not list

    config: Mapping[str, Any]
    classes: int = Field(default=2, ge=1, le=MOST_CLASSES)
    parallel_width: NonNegativeInt = 0

    @field_validator("config")
    @classmethod
    def _complete(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings that the library's class declares, without labels, versions and the like."""
        from huggingface_hub.errors import StrictDataclassError
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        kind = CONFIG_MAPPING[config["model_type"]]
        declared = [name for name in kind.__annotations__ if not name.startswith("_")]
        known = {*declared, *cls.older_settings, *cls.undeclared_settings}
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
        return {"model_type": config["model_type"]} | {name: getattr(settings, name) for name in declared} | undeclared

    @property
    def unsupported(self) -> str:
        """What of the settings makes another network than das computes; empty where nothing does."""
        return ""

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
