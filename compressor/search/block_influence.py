"""Block influence: how much each layer changes its stream (ShortGPT, arXiv 2403.03853, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from compressor.models.steps import Streams, valid_tokens
from compressor.models.supernet import Supernet


def block_influence(supernet: Supernet, batches: Sequence[Streams]) -> list[float]:
    """Return for each candidate 1 - mean cosine of its stream before and after.

    Args:
        supernet: its model is run as it is.
        batches: calibration samples in front of the first candidate, as ``supernet.encode`` returns them.
    """
    sums = dict.fromkeys(supernet.candidates, (0.0, 0))
    with torch.no_grad():
        for streams in batches:
            for round_ in supernet.varying:
                after = supernet.model.advance(streams, (round_,))
                for step in (step for step in round_ if step.name in sums):
                    real = valid_tokens(streams, step.stream)
                    alike = F.cosine_similarity(streams[step.stream][real], after[step.stream][real], dim=-1)
                    total, rows = sums[step.name]
                    sums[step.name] = total + float(alike.double().sum()), rows + len(alike)
                streams = after
    return [1 - total / rows for total, rows in sums.values()]
