"""Samples of a run as inputs of a call."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compressor.families import FAMILIES
from compressor.saved_run.run_folder import Run
from exporters.graph.inputs import trim_images


def make_batch(samples: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return a batch of ``size``: the samples in order, from the first again when there are fewer."""
    return {name: rows[torch.arange(size) % len(rows)] for name, rows in samples.items()}


def make_inputs(run: Run, size: int) -> dict[str, Tensor]:
    """Return the first ``size`` samples of a run, without the padding that other samples of the run brought."""
    return trim_images(
        FAMILIES[run.manifest.family], make_batch(run.samples(), size), run.manifest.dims.get("patch", 1)
    )
