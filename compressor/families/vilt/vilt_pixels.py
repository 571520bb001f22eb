"""What a Hugging Face folder says of ViLT's images: ``preprocessor_config.json``, as transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.architectures.vilt import PixelSettings, ViltDims
from compressor.families.image_settings import ALONE, NAMES, find_settings, other_steps, unsupported

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
    path, said = find_settings(checkpoint)
    if said is None:
        note = f"no {ALONE}: images are resized to {dims.image_size} pixels and normalised as published"
        return dims, (note,)
    try:
        return _understand(dims, said), ()
    except (ValueError, TypeError, AttributeError) as error:
        expected = "settings of ViLT's image processor, which resizes by the shorter side"
        raise unsupported(path, error, expected) from None


def write_pixels(dims: ViltDims) -> dict[str, dict[str, Any]]:
    """Return the file that :func:`read_pixels` reads ``dims`` of, by name."""
    said = {
        "image_processor_type": OURS[0],
        "processor_class": "ViltProcessor",
        "size": {"shortest_edge": dims.image_size},
    }
    return {ALONE: {**said, "do_resize": True, "do_pad": True, **dims.pixels.model_dump()}}


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
    kinds = {name: said[name] for name in NAMES if name in said}
    divisor = processor.size_divisor
    problems = [f"{name} {kind}" for name, kind in kinds.items() if kind not in OURS]
    problems += other_steps(said, STEPS)
    problems += ["do_resize false"] * (said.get("do_resize", True) is not True)
    problems += [f"size {json.dumps(said.get('size'))}"] * (list(size) != ["shortest_edge"])
    problems += [f"size_divisor {divisor}, no multiple of the patch {dims.patch}"] * bool(divisor % dims.patch)
    if problems:
        raise ValueError(", ".join(problems))
    pixels = PixelSettings(**{name: getattr(processor, name) for name in PixelSettings.model_fields})
    if size["shortest_edge"] < divisor:
        raise ValueError(f"size {size['shortest_edge']}, less than size_divisor {divisor}")
    return ViltDims(**dict(dims) | {"image_size": size["shortest_edge"], "pixels": pixels})
