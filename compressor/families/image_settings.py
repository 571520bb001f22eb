"""What a Hugging Face folder says of a model's images: ``preprocessor_config.json``, as transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from compressor.errors import InputError, input_error
from compressor.files import read_settings
from compressor.values import Value, list_faults

ALONE, NESTED = "preprocessor_config.json", "processor_config.json"
NAMES = ("image_processor_type", "feature_extractor_type")
STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
"""What is done to an image, in any such file; all images are RGB."""
Processor = Literal[
    "ViTImageProcessor",
    "DeiTImageProcessor",
    "BitImageProcessor",
    "CLIPImageProcessor",
    "SiglipImageProcessor",
    "BlipImageProcessor",
]
MODULES: Mapping[str, str] = {kind: kind.removesuffix("ImageProcessor").lower() for kind in get_args(Processor)}
Size = Mapping[str, PositiveInt]
NOTHING: Mapping[str, Any] = {}


class ImageSettings(Value):
    """What is done to an image, under the names of transformers' image processors; what the model sees is a square.

    ``size`` is ``height`` and ``width``, or ``shortest_edge`` where the aspect ratio is kept; ``resample`` is Pillow's
    number of the filter.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    image_processor_type: Processor
    do_resize: bool
    size: Size
    resample: int = Field(ge=0, le=5)
    do_center_crop: bool
    crop_size: Size | None
    do_rescale: bool
    rescale_factor: float = Field(gt=0)
    do_normalize: bool
    image_mean: tuple[float, float, float]
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]

    @classmethod
    def of(cls, kind: Processor, said: Mapping[str, Any] = NOTHING) -> ImageSettings:
        """Return the settings that a processor of this kind has where the file says this.

        Raises:
            ValueError, TypeError: what it says makes no squares, or the processor does not take it.
        """
        names = [name for name in cls.model_fields if name != NAMES[0]]
        processor = make_processor(kind, {name: said[name] for name in names if name in said})
        found: dict[str, Any] = {name: getattr(processor, name, None) for name in names}
        sides = {name: _sides(found[name]) for name in ("size", "crop_size")}
        crops = bool(found["do_center_crop"])
        return cls(**{**found, **sides, "do_center_crop": crops, "image_processor_type": kind})

    @model_validator(mode="after")
    def _make_squares(self) -> ImageSettings:
        last = self._last
        if "shortest_edge" in last or len({*last.values()}) != 1:
            raise ValueError(f"images of {json.dumps(dict(last))} pixels, which are no squares")
        return self

    @property
    def _last(self) -> Size:
        """What the last step that changes the size of an image makes of it."""
        if self.do_center_crop and self.crop_size:
            return self.crop_size
        return self.size if self.do_resize else {}

    @property
    def side(self) -> int:
        """Side of the square that the model sees, in pixels."""
        return next(iter(self._last.values()))

    def at(self, side: int) -> ImageSettings:
        """Return the same for a square of another side: every size is as many times as large."""

        def scaled(size: Size | None) -> Size | None:
            return size and {name: round(pixels * side / self.side) for name, pixels in size.items()}

        sizes = {"size": scaled(self.size), "crop_size": scaled(self.crop_size)}
        return self if side == self.side else ImageSettings(**{**self.model_dump(), **sizes})


def make_processor(kind: str, settings: Mapping[str, Any]) -> Any:
    """Return an image processor of transformers, in its form without torchvision.

    Raises:
        ValueError, TypeError: settings that it does not take.
    """
    module = import_module(f"transformers.models.{MODULES[kind]}.image_processing_pil_{MODULES[kind]}")
    return getattr(module, f"{kind}Pil")(**settings)


def _sides(size: Any) -> dict[str, int] | None:
    return None if size is None else {name: value for name, value in dict(size).items() if value is not None}


def find_settings(checkpoint: Path) -> tuple[Path, Mapping[str, Any] | None]:
    """Return the file of a folder that says what is done to images, and what it says; None where none does.

    Args:
        checkpoint: a folder, or a file in it. ``processor_config.json`` comes first where it holds an image processor,
            then ``preprocessor_config.json``.

    Raises:
        InputError: a file is damaged.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    path, said = folder / NESTED, _read(folder / NESTED).get("image_processor")
    if said is None and (folder / ALONE).exists():
        path, said = folder / ALONE, _read(folder / ALONE)
    return path, said


def read_image_settings(checkpoint: Path, usual: Processor, patch: int) -> ImageSettings | None:
    """Return what the folder says of images, None where it says nothing; without a type it is of ``usual``'s.

    Squares are of whole patches of ``patch`` pixels.

    Raises:
        InputError: a file is damaged, of another model's images, or asks for what das does not do.
    """
    path, said = find_settings(checkpoint)
    if said is None:
        return None
    try:
        settings = _understand(said, usual)
        if settings.side % patch:
            raise ValueError(f"images of {settings.side} pixels are no whole number of patches of {patch}")
        return settings
    except (ValueError, TypeError, AttributeError) as error:
        raise unsupported(path, error, f"settings of {', '.join(MODULES)} that make squares") from None


def unsupported(path: Path, error: Exception, expected: str) -> InputError:
    """Return the error for a file that asks for what das does not do to images."""
    reason = "; ".join(list_faults(error)) if isinstance(error, ValidationError) else str(error)
    return input_error(
        "image-settings-unsupported",
        f"{path}: {reason}",
        expected,
        f"the {ALONE} that the model was trained with; without one das takes the published settings",
    )


def other_steps(said: Mapping[str, Any], steps: tuple[str, ...]) -> list[str]:
    """Return the steps that a file asks for beside those that das does."""
    return [f"{name} true" for name in said if name.startswith("do_") and name not in steps and said[name]]


def _understand(said: Mapping[str, Any], usual: Processor) -> ImageSettings:
    """Return the settings of a file.

    Raises:
        ValueError, TypeError, AttributeError: with what das does not do, by name.
    """
    named = {name: str(said[name]) for name in NAMES if said.get(name)}
    kinds: dict[str, Any] = {name: _plain(kind) for name, kind in named.items()}
    problems = [f"{name} {kind}" for name, kind in named.items() if kinds[name] not in MODULES]
    # Where no size is named, images are padded to the largest of a batch: squares are all of one size.
    problems += other_steps(said, STEPS if said.get("pad_size") else (*STEPS, "do_pad"))
    if problems:
        raise ValueError(", ".join(problems))
    return ImageSettings.of(next(iter(kinds.values()), usual), said)


def _plain(kind: str) -> str:
    """Return the name that all forms of an image processor have in common."""
    return kind.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_settings(path) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise input_error(
            "image-settings-damaged", f"{path} cannot be read ({error})", "JSON", "download the model's files again"
        ) from None
