"""The full model in which every candidate layer can be routed through its skip adapter; exists during search only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from compressor.adapters import Adapter
from compressor.families import FAMILIES
from compressor.steps import StepModel, split_at_candidates, steps_of
from compressor.surgery import new_skip_adapter


class Supernet:
    """Routes candidates of a frozen model through skip adapters, which it keeps in ``model.skips``.

    Args:
        model: a full model; its parameters are frozen and it is put into eval mode.
        candidates: names of the layers that may be skipped.
        also_trained: other steps with parameters in training; nothing behind them can be computed beforehand.
    """

    def __init__(self, model: StepModel, candidates: Sequence[str], also_trained: Sequence[str] = ()) -> None:
        self.model, self.candidates = model.eval().requires_grad_(False), tuple(candidates)
        self.fixed, self.varying = split_at_candidates(model.rounds, {*candidates, *also_trained})
        for name in self.candidates:
            model.skips[name] = new_skip_adapter(model, name)

    def encode(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Streams in front of the first candidate, the same for every subset, and whatever else the batch holds."""
        names = FAMILIES[self.model.family].inputs
        streams = self.model.advance(self.model.prologue(**{name: batch[name] for name in names}), self.fixed)
        return {**{name: value for name, value in batch.items() if name not in names}, **streams}

    def logits(self, streams: Mapping[str, Tensor], skipped: Collection[str]) -> Tensor:
        """Logits (B, classes) with the layers ``skipped`` routed through their adapters."""
        routed = {name: self.model.skips[name] for name in skipped}
        return self.model.epilogue(self.model.advance(dict(streams), self.varying, routed))

    def adapters(self) -> list[nn.Parameter]:
        """Parameters of the skip adapters of all candidates."""
        return [parameter for name in self.candidates for parameter in self.model.skips[name].parameters()]


def parallel_adapters(model: StepModel) -> dict[str, list[nn.Parameter]]:
    """Parameters of the parallel adapters by the step they sit in; empty for an ordinary fine-tuned model."""
    found: dict[str, list[nn.Parameter]] = {}
    for step in steps_of(model.rounds):
        beside = [module for module in model.blocks[step.name].modules() if isinstance(module, Adapter)]
        if beside and not step.skipped:
            found[step.name] = [parameter for module in beside for parameter in module.parameters()]
    return found
