"""What running parts of a model costs, in multiply-adds (1 MAC = 2 FLOPs), and what a search has spent.

These counts steer the search and its budgets; reports count again on the traced graph (``profiles/flops.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compressor.models.steps import Rounds
from compressor.models.supernet import Supernet

T = TypeVar("T")


@dataclass(frozen=True)
class Costs:
    """MACs of one sample.

    Attributes:
        fixed: in front of the first candidate: encoded once, however many subsets are tried.
        steps: of every later step.
        adapters: of the skip adapter in place of each candidate.
        epilogue: of poolers and head.
    """

    fixed: int
    steps: Mapping[str, int]
    adapters: Mapping[str, int]
    epilogue: int

    @property
    def full(self) -> int:
        """Of the full model."""
        return self.fixed + sum(self.steps.values()) + self.epilogue

    def subset(self, skipped: Collection[str]) -> int:
        """Behind the fixed part, of the model without the layers ``skipped``."""
        kept = sum(macs for name, macs in self.steps.items() if name not in skipped)
        return kept + sum(self.adapters[name] for name in skipped) + self.epilogue

    def together(self, rounds: Rounds, subsets: Collection[frozenset[str]]) -> int:
        """Of scoring all ``subsets`` at once, where what they have in common from the start of ``rounds`` runs once."""
        runs: set[tuple[tuple[frozenset[str], ...], str, bool]] = set()
        for subset in subsets:
            before: tuple[frozenset[str], ...] = ()
            for round_ in rounds:
                runs.update((before, step.name, step.name in subset) for step in round_)
                before += (subset & {step.name for step in round_},)
        walked = sum(self.adapters[name] if skipped else self.steps[name] for _, name, skipped in runs)
        return walked + len(set(subsets)) * self.epilogue


def measure_costs(supernet: Supernet, inputs: Mapping[str, Tensor]) -> Costs:
    """Count a supernet's parts on ``inputs``, a batch of one sample, by PyTorch's own FLOP counter."""
    model = supernet.model
    with torch.inference_mode():
        streams, fixed = _counted(supernet.encode, inputs)
        steps, adapters = {}, {}
        for round_ in supernet.varying:
            after = dict(streams)
            for step in round_:
                written, steps[step.name] = _counted(model.advance, streams, ((step,),))
                after[step.writes] = written[step.writes]
                if step.name in supernet.candidates:
                    _, adapters[step.name] = _counted(model.skips[step.name], streams[step.writes])
            streams = after
        _, epilogue = _counted(model.epilogue, streams)
    return Costs(fixed, steps, adapters, epilogue)


def _counted(call: Callable[..., T], *arguments: object) -> tuple[T, int]:
    """The result of a call and its MACs; attention runs as matrix products, which the counter knows everywhere."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        result = call(*arguments)
    return result, counter.get_total_flops() // 2
