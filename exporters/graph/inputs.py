"""A model's inputs as a graph sees them: which axes vary, how far, and inputs without their padding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import usage_error
from compressor.families import FAMILIES
from compressor.families.family import Family, Input
from compressor.models.steps import StepModel


@dataclass(frozen=True)
class Fixed:
    """Axes of a graph that take one size only; None varies. ``text_length`` is in tokens."""

    batch: int | None = None
    text_length: int | None = None

    @classmethod
    def of(cls, family: Family, sizes: Sequence[int | None]) -> Fixed:
        """Return what a graph has fixed whose first input has these ``sizes``, None where they vary."""
        named = dict(zip(family.inputs[0].axes_of(len(sizes)), sizes, strict=True))
        return cls(named["batch"], named.get("length"))

    @property
    def suffix(self) -> str:
        """In file names: ``.b1.t40``."""
        batch = f".b{self.batch}" if self.batch else ""
        return batch + (f".t{self.text_length}" if self.text_length else "")


VARYING = Fixed()


def image_sides(model: StepModel) -> tuple[int, int] | None:
    """Smallest and largest side in pixels of the images ``model`` reads; None when it reads none."""
    transform = FAMILIES[model.family].image_transform
    return transform(model.dims).sides if transform else None


def any_size(model: StepModel) -> bool:
    """Return whether images of different heights and widths may come."""
    sides = image_sides(model)
    return sides is not None and sides[0] < sides[1]


def shape_ranges(
    model: StepModel, samples: Mapping[str, Tensor], batch: tuple[int, int, int], fixed: Fixed
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Return smallest, usual and largest shape of every input.

    Batches as given, texts from one token to the padded length, where padding is masked, images from one patch to the
    largest there are.
    """
    sides = image_sides(model) if any_size(model) else None
    masked = FAMILIES[model.family].masks_texts

    def axis_range(axis: str, size: int) -> tuple[int, int, int]:
        if axis == "batch":
            return batch
        if axis == "length" and not fixed.text_length and masked:
            return 1, size, size
        if axis in ("height", "width") and sides:
            return sides[0], size, sides[1]
        return size, size, size

    def shapes(entry: Input) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        shape = samples[entry.name].shape
        smallest, usual, largest = zip(*map(axis_range, entry.axes_of(len(shape)), shape), strict=True)
        return smallest, usual, largest

    return {entry.name: shapes(entry) for entry in FAMILIES[model.family].inputs if entry.name in samples}


def first_rows(inputs: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return the first ``size`` samples; from the first again where there are fewer."""
    return {name: value[torch.arange(size) % len(value)] for name, value in inputs.items()}


def batches_of(samples: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Split samples into batches of ``size``; the last one is filled up from the first samples."""
    count = len(next(iter(samples.values())))
    rows = torch.arange(math.ceil(count / size) * size) % count
    return [{name: x[part] for name, x in samples.items()} for part in rows.split(size)]


def trim_images(family: Family, inputs: Mapping[str, Tensor], patch: int) -> dict[str, Tensor]:
    """Return the same samples without the padding their images share, down to whole patches of ``patch`` pixels."""
    name = family.mask_of("image")
    if name is None:
        return dict(inputs)
    mask = inputs[name].flatten(0, -3).amax(0)
    height, width = (-(-int(mask.amax(axis).sum()) // patch) * patch for axis in (1, 0))
    return family.cut(inputs, height=height, width=width)


def shortest_texts(family: Family, inputs: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return the ``size`` samples with the shortest texts without their common padding; halved when they have none.

    They lose one more token where their length would be odd as that of ``inputs`` is, or even as it is: a graph that
    rounds half a size otherwise than the model differs at odd sizes alone.
    """
    mask = _text_mask(family, inputs)
    lengths = (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)  # position of the last valid token, from 1
    chosen = lengths.argsort(stable=True)[torch.arange(size) % len(lengths)]
    longest, padded = int(lengths[chosen].max()), mask.shape[1]
    length = longest if 0 < longest < padded else max(1, padded // 2)
    length = max(1, length - (padded - length + 1) % 2)
    return family.cut({name: value[chosen] for name, value in inputs.items()}, length=length)


def trim_texts(family: Family, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same samples without the padding that all their texts share; one token is left at least."""
    if not family.names_of("text"):
        return dict(inputs)
    used = _text_mask(family, inputs).any(0).nonzero()
    return family.cut(inputs, length=int(used.max()) + 1 if len(used) else 1)


def texts_that_fit(family: Family, inputs: Mapping[str, Tensor], length: int) -> Tensor:
    """Return which texts have no token behind the first ``length``, (B,) bool."""
    if not family.names_of("text"):
        return torch.ones(len(next(iter(inputs.values()))), dtype=torch.bool)
    return _text_mask(family, inputs)[:, length:].sum(1) == 0


def with_text_length(family: Family, inputs: Mapping[str, Tensor], length: int | None) -> dict[str, Tensor]:
    """Return the samples whose texts fit into ``length`` tokens, cut to it; all of them as they are for None.

    A cut text has lost padding alone, so the answer stays the same.

    Raises:
        UsageError: no text fits, or the texts are padded to fewer tokens, or there are none.
    """
    if length is None:
        return dict(inputs)
    if not family.names_of("text"):
        raise usage_error(
            "text-length-without-texts", f"a text length of {length}", "none: the model reads no text", "leave it out"
        )
    mask, fits = _text_mask(family, inputs), texts_that_fit(family, inputs, length)
    if length > mask.shape[1] or not fits.any():
        longest = int(mask.sum(1).max())
        raise usage_error(
            "text-length-impossible",
            f"a text length of {length}",
            f"at most {mask.shape[1]}, and enough for some sample: the longest has {longest} tokens",
            f"--text-length {mask.shape[1]}",
        )
    return family.cut({name: x[fits] for name, x in inputs.items()}, length=length)


def as_the_graph_takes(family: Family, inputs: Mapping[str, Tensor], fixed: Fixed) -> dict[str, Tensor]:
    """Return the samples cut to the one text length of a graph, or to the longest of their texts where it varies."""
    return with_text_length(family, inputs, fixed.text_length) if fixed.text_length else trim_texts(family, inputs)


def without_padding(model: StepModel, inputs: Mapping[str, Tensor], fixed: Fixed) -> dict[str, Tensor]:
    """Return the samples as a graph of ``model`` takes them, without what padding they share and it can do without."""
    family = FAMILIES[model.family]
    cut = as_the_graph_takes(family, inputs, fixed)
    return trim_images(family, cut, model.dims.patch) if any_size(model) else cut


def _text_mask(family: Family, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return 1 at what may not be cut off a text: its tokens, or, where no mask tells them from padding, all."""
    name = family.mask_of("text")
    return torch.ones_like(inputs[family.names_of("text")[0]]) if name is None else inputs[name]
