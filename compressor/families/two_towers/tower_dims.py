"""Sizes of a model of two towers: the library's configuration of both, and how large images and texts are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from compressor.architectures.architecture import MOST_LAYERS
from compressor.families.image_settings import ImageSettings
from compressor.values import Value

if TYPE_CHECKING:
    from transformers.configuration_utils import PretrainedConfig

TEXT, VISION = "text_config", "vision_config"
LAYERS = "num_hidden_layers"


class TowerDims(Value):
    """Sizes of a model of two towers.

    ``config`` holds the library's settings of the architecture, ``model_type`` among them, and those of the towers
    under ``text_config`` and ``vision_config``; what is left out gets the library's default. ``classes`` is the width
    of the vectors. ``image_size`` is the side of the square that the model sees, in pixels, and ``pixels`` what is done
    to an image before. ``text_length`` is the most tokens that a text is cut to.
    """

    model_config = ConfigDict(validate_default=True)

    config: Mapping[str, Any]
    classes: PositiveInt = 512
    images: NonNegativeInt = 1
    image_size: PositiveInt = 224
    pixels: ImageSettings = Field(default_factory=lambda: ImageSettings.of("CLIPImageProcessor"))
    text_length: PositiveInt = 77
    parallel_width: NonNegativeInt = 0

    @field_validator("config")
    @classmethod
    def _complete(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings that the library's classes declare, without labels, versions and the like."""
        from huggingface_hub.errors import StrictDataclassError
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        kind = CONFIG_MAPPING[config["model_type"]]
        older = (f"{TEXT}_dict", f"{VISION}_dict")  # where old checkpoints have what counts
        try:
            with _silence():
                settings = kind(**{name: config[name] for name in (*kind.__annotations__, *older) if name in config})
        except StrictDataclassError as error:
            raise ValueError(" ".join(str(error).split())) from None
        towers = {name: getattr(settings, name) for name in (TEXT, VISION)}
        for name, tower in towers.items():
            if tower.hidden_size % tower.num_attention_heads:
                heads = f"{tower.num_attention_heads} attention heads"
                raise ValueError(f"{heads} of {name} do not divide a width of {tower.hidden_size}")
            if not 1 <= tower.num_hidden_layers <= MOST_LAYERS:
                raise ValueError(f"{tower.num_hidden_layers} layers of {name} are not 1 to {MOST_LAYERS}")
        own = {name: getattr(settings, name) for name in kind.__annotations__ if name not in towers}
        return {"model_type": config["model_type"]} | own | {name: _declared(part) for name, part in towers.items()}

    @property
    def unsupported(self) -> str:
        """What of the settings makes another network than das computes; empty where nothing does."""
        vision = self.vision
        sides = {"image_size": vision.image_size, "patch_size": vision.patch_size}
        odd = [f"{name} {side}" for name, side in sides.items() if not isinstance(side, int)]
        channels = getattr(vision, "num_channels", 3)  # BLIP's are always 3
        odd += [f"num_channels {channels}"] * (channels != 3)
        return ", ".join(odd)

    @property
    def library(self) -> PretrainedConfig:
        """The configuration for transformers, at ``image_size``."""
        from transformers.models.auto.configuration_auto import AutoConfig

        vision = {**self.config[VISION], "image_size": self.image_size}
        with _silence():
            config = AutoConfig.for_model(**{**self.config, VISION: vision, TEXT: dict(self.config[TEXT])})
        for part in (config.text_config, config.vision_config):
            part._attn_implementation = "sdpa"
        return config

    @property
    def text(self) -> SimpleNamespace:
        """Settings of the text tower, by their names in the library."""
        return SimpleNamespace(**self.config[TEXT])

    @property
    def vision(self) -> SimpleNamespace:
        """Settings of the vision tower."""
        return SimpleNamespace(**self.config[VISION])

    @property
    def width(self) -> int:
        """Of the vectors."""
        raise NotImplementedError

    @property
    def hidden(self) -> int:
        """Width of the narrower tower's stream."""
        return min(self.text.hidden_size, self.vision.hidden_size)

    @property
    def text_layers(self) -> int:
        """Layers of the text tower."""
        return self.config[TEXT][LAYERS]

    @property
    def vision_layers(self) -> int:
        """Layers of the vision tower."""
        return self.config[VISION][LAYERS]

    @property
    def side_step(self) -> int:
        """What sides of images are multiples of, in pixels: a part of a patch is left out, as SigLIP-so400m does."""
        return 1

    @property
    def stored_size(self) -> int:
        """Side in pixels of the images that positions are stored for."""
        return self.config[VISION]["image_size"]

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.config[VISION]["patch_size"]

    @property
    def text_vocabulary(self) -> int:
        """Rows of the word embedding."""
        return self.config[TEXT]["vocab_size"]

    @property
    def text_types(self) -> int:
        """Token types: none are told apart."""
        return 1

    @property
    def text_padding(self) -> int | None:
        """None: configurations name another token than the tokenizers pad with."""
        return None

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.config[TEXT]["max_position_embeddings"]


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the library's warnings of ids of tokens, which published configurations of SigLIP have wrong."""
    from transformers.utils import logging

    said = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(said)


def _declared(tower: Any) -> dict[str, Any]:
    """Return the settings that a tower's class declares."""
    return {name: getattr(tower, name) for name in type(tower).__annotations__}
