"""What a Hugging Face folder says of ViLT's images: ``preprocessor_config.json``, as transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compressor.architectures.vilt import PixelSettings, ViltDims
from compressor.errors import input_error
from compressor.files import read_settings
from compressor.values import list_faults

ALONE, NESTED = "preprocessor_config.json", "processor_config.json"
KINDS = ("image_processor_type", "feature_extractor_type")
OURS = ("ViltImageProcessor", "ViltImageProcessorFast", "ViltImageProcessorPil", "ViltFeatureExtractor")
STEPS = ("do_resize", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb")
"""What is done to an image, in any such file; all images are RGB, and padding is masked."""


def read_pixels(dims: ViltDims, checkpoint: Path) -> tuple[ViltDims, tuple[str, ...]]:
    """Return ``dims`` with what the folder says of images, and a note where it says nothing.

    Args:
        dims: without it.
        checkpoint: a folder, or a file in it. ``processor_config.json`` comes first where it holds an image processor,
            then ``preprocessor_config.json``. What a file leaves out has the library's default.

    Raises:
        InputError: a file is damaged, of another model's images, or asks for what das does not do.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    path, said = folder / NESTED, _read(folder / NESTED).get("image_processor")
    if said is None and (folder / ALONE).exists():
        path, said = folder / ALONE, _read(folder / ALONE)
    if said is None:
        note = f"no {ALONE}: images are resized to {dims.image_size} pixels and normalised as published"
        return dims, (note,)
    try:
        return _understand(dims, said), ()
    except (ValueError, TypeError, AttributeError) as error:
        raise input_error(
            "image-settings-unsupported",
            f"{path}: {_reason(error)}",
            "settings of ViLT's image processor, which resizes by the shorter side",
            f"the {ALONE} that the model was trained with; without one das takes the published settings",
        ) from None


def write_pixels(dims: ViltDims) -> dict[str, dict[str, Any]]:
    """Return the file that :func:`read_pixels` reads ``dims`` of, by name."""
    said = {
        "image_processor_type": OURS[0],
        "processor_class": "ViltProcessor",
        "size": {"shortest_edge": dims.image_size},
    }
    return {ALONE: {**said, "do_resize": True, "do_pad": True, **dims.pixels.model_dump()}}


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_settings(path) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise input_error(
            "image-settings-damaged", f"{path} cannot be read ({error})", "JSON", "download the model's files again"
        ) from None


def _understand(dims: ViltDims, said: Mapping[str, Any]) -> ViltDims:
    """Return ``dims`` with these settings.

    Raises:
        ValueError, TypeError, AttributeError: with what das does not do, by name.
    """
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    processor = ViltImageProcessorPil(
        **{name: said[name] for name in (*PixelSettings.model_fields, "size") if name in said}
    )
    size = {name: value for name, value in vars(processor.size).items() if value is not None}
    kinds = {name: said[name] for name in KINDS if name in said}
    divisor = processor.size_divisor
    problems = [f"{name} {kind}" for name, kind in kinds.items() if kind not in OURS]
    problems += [f"{name} true" for name in said if name.startswith("do_") and name not in STEPS and said[name]]
    problems += ["do_resize false"] * (said.get("do_resize", True) is not True)
    problems += [f"size {json.dumps(said.get('size'))}"] * (list(size) != ["shortest_edge"])
    problems += [f"size_divisor {divisor}, no multiple of the patch {dims.patch}"] * bool(divisor % dims.patch)
    if problems:
        raise ValueError(", ".join(problems))
    pixels = PixelSettings(**{name: getattr(processor, name) for name in PixelSettings.model_fields})
    if size["shortest_edge"] < divisor:
        raise ValueError(f"size {size['shortest_edge']}, less than size_divisor {divisor}")
    return ViltDims(**dict(dims) | {"image_size": size["shortest_edge"], "pixels": pixels})


def _reason(error: Exception) -> str:
    return "; ".join(list_faults(error)) if isinstance(error, ValidationError) else str(error)
