"""The MACs of each part of a supernet (1 MAC = 2 FLOPs): what subsets of its layers cost, alone and together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from compressor.costs.macs import count_call
from compressor.models.steps import Rounds
from compressor.models.supernet import Supernet


@dataclass(frozen=True)
class Costs:
    """MACs of one sample.

    Attributes:
        fixed: in front of the first candidate: encoded once, however many subsets are tried.
        steps: of every later step.
        adapters: of the skip adapter in place of each candidate.
        epilogue: of poolers and head.
        scoring: of those steps of which less is computed where subsets are scored: what the epilogue reads.
    """

    fixed: int
    steps: Mapping[str, int]
    adapters: Mapping[str, int]
    epilogue: int
    scoring: Mapping[str, int] = field(default_factory=dict)

    @property
    def full(self) -> int:
        """MACs of the full model."""
        return self.fixed + sum(self.steps.values()) + self.epilogue

    def subset(self, skipped: Collection[str]) -> int:
        """Count the MACs behind the fixed part, of the model without the layers ``skipped``."""
        layers = sum(macs for name, macs in self.steps.items() if name not in skipped)
        return layers + sum(self.adapters[name] for name in skipped) + self.epilogue

    def together(self, rounds: Rounds, subsets: Collection[frozenset[str]]) -> int:
        """Count the MACs of scoring all ``subsets`` at once; a common beginning of ``rounds`` runs once."""
        runs: set[tuple[tuple[frozenset[str], ...], str, bool]] = set()
        for subset in subsets:
            before: tuple[frozenset[str], ...] = ()
            for round_ in rounds:
                runs.update((before, step.name, step.name in subset) for step in round_)
                before += (subset & {step.name for step in round_},)
        kept = {**self.steps, **self.scoring}
        walked = sum(self.adapters[name] if skipped else kept[name] for _, name, skipped in runs)
        return walked + len(set(subsets)) * self.epilogue


def measure_costs(supernet: Supernet, inputs: Mapping[str, Tensor]) -> Costs:
    """Count a supernet's parts on ``inputs``, a batch of one sample."""
    model = supernet.model
    streams, fixed = count_call(supernet.encode, inputs)
    steps, adapters, scoring = {}, {}, {}
    for round_ in supernet.varying:
        after = dict(streams)
        for step in round_:
            written, steps[step.name] = count_call(model.advance, streams, ((step,),))
            after |= {name: written[name] for name in step.writes}
            if round_ is supernet.varying[-1]:
                _, scoring[step.name] = count_call(supernet.run_step, streams, step, False)
            if step.name in supernet.candidates:
                _, adapters[step.name] = count_call(model.skips[step.name], streams[step.stream])
        streams = after
    _, epilogue = count_call(model.epilogue, streams)
    return Costs(fixed, steps, adapters, epilogue, scoring)
