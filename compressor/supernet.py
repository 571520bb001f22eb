"""The full model in which every candidate layer can be routed through its skip adapter; exists during search only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor.families import FAMILIES
from compressor.steps import StepModel, split_at_candidates
from compressor.surgery import new_skip_adapter


class Supernet:
    """Routes candidates of a frozen model through skip adapters, which it keeps in ``model.skips``.

    Args:
        model: a full model; its parameters are frozen and it is put into eval mode.
        candidates: names of the layers that may be skipped.
    """

    def __init__(self, model: StepModel, candidates: Sequence[str]) -> None:
        self.model, self.candidates = model.eval().requires_grad_(False), tuple(candidates)
        self.fixed, self.varying = split_at_candidates(model.rounds, self.candidates)
        device = next(model.parameters()).device
        for name in self.candidates:
            model.skips[name] = new_skip_adapter(model, name).to(device)

    def encode(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Streams in front of the first candidate: the same for every subset."""
        inputs = {name: batch[name] for name in FAMILIES[self.model.family].inputs}
        return self.model.advance(self.model.prologue(**inputs), self.fixed)

    def logits(self, streams: Mapping[str, Tensor], skipped: Collection[str]) -> Tensor:
        """Logits (B, classes) with the layers ``skipped`` routed through their adapters."""
        routed = {name: self.model.skips[name] for name in skipped}
        return self.model.epilogue(self.model.advance(dict(streams), self.varying, routed))

    def adapters(self) -> list[nn.Parameter]:
        """Parameters of the skip adapters of all candidates."""
        return [parameter for name in self.candidates for parameter in self.model.skips[name].parameters()]


def trained_in_transfer(model: StepModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parallel adapters of the kept layers, and the poolers and head: what ``--adapt`` trains besides skip adapters."""
    parallel = [p for name, p in model.blocks.named_parameters() if ".adapter." in name]
    return parallel, list(model.epilogue.parameters())


def seeded(seed: int) -> torch.Generator:
    """A CPU generator of its own, so that nothing else disturbs its draws."""
    return torch.Generator().manual_seed(seed)
