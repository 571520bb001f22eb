"""Sizes of a vision encoder: the library's configuration, and the images that it sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from compressor.families.image_settings import ImageSettings
from compressor.families.library_dims import LibraryDims
from compressor.token_merging.merge_schedule import check_counts

SQUARES = ("image_size", "patch_size")


class VisionDims(LibraryDims):
    """Sizes of a vision encoder.

    ``config`` says for which image size positions are stored; ``image_size`` is the side in pixels of the images that
    the model sees, to which positions are interpolated, and ``pixels`` what is done to an image before.
    ``merged_tokens`` says how many tokens each layer merges; none where it is empty. No text is read: ``text_length``
    is 0.
    """

    special: ClassVar[int] = 1  # tokens in front of the patches that have a position

    image_size: PositiveInt = Field(default_factory=lambda fields: fields.get("config", {}).get("image_size", 1))
    pixels: ImageSettings = Field(default_factory=lambda: ImageSettings.of("ViTImageProcessor"))
    images: Literal[1] = 1
    text_length: Literal[0] = 0
    merged_tokens: tuple[NonNegativeInt, ...] = ()

    @field_validator("config", mode="before")
    @classmethod
    def _make_squares(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, **{name: _side(name, config[name]) for name in SQUARES if name in config}}

    @model_validator(mode="after")
    def _fit(self) -> VisionDims:
        if self.image_size % self.patch or self.config["image_size"] % self.patch:
            raise ValueError(f"images of {self.image_size} pixels are no whole number of patches of {self.patch}")
        check_counts((self.image_size // self.patch) ** 2 + self.special, self.layers, self.merged_tokens)
        if self.config["num_channels"] != 3:
            raise ValueError(f"num_channels is {self.config['num_channels']}: images are RGB")
        return self

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.config["patch_size"])

    @property
    def side_step(self) -> int:
        """What sides of images are multiples of, in pixels: no part of a patch is left."""
        return self.patch

    @property
    def stored_size(self) -> int:
        """Side in pixels of the images that positions are stored for."""
        return int(self.config["image_size"])

    @property
    def stored_grid(self) -> int:
        """Side of the grid of patches that positions are stored for."""
        return self.stored_size // self.patch

    @property
    def built_config(self) -> dict[str, Any]:
        """The library's settings of the model as it is built: positions for the images that it sees."""
        return {**self.config, "image_size": self.image_size}

    @property
    def longest_text(self) -> int:
        """None is read."""
        return 0


def _side(name: str, size: Any) -> int:
    """Return the side of what is a number, or height and width that are the same.

    Raises:
        ValueError: they differ.
    """
    sides = {*size} if isinstance(size, list | tuple) else {size}
    if len(sides) != 1:
        raise ValueError(f"{name} is {size}: das reads squares")
    return int(sides.pop())
