"""The full model in which every candidate layer can be routed through its skip adapter; exists during search only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.families import FAMILIES
from compressor.models.adapters import Adapter
from compressor.models.readout import Readout, read_tokens
from compressor.models.steps import Step, StepModel, Streams, split_at_candidates, steps_of
from compressor.models.surgery import new_skip_adapter, split_layers
from compressor.models.trims.simplify import trim_last_round


class Supernet:
    """Routes candidates of a frozen model through skip adapters, which it keeps in ``model.skips``.

    Args:
        model: a full model; its parameters are frozen and it is put into eval mode. It is searched with those layers in
            parts that candidates are parts of.
        candidates: names of the layers, or parts of layers, that may be skipped.
        also_trained: other steps with parameters in training; nothing behind them can be computed beforehand.
        width: bottleneck of fresh adapters; None is each layer's own.
    """

    def __init__(
        self,
        model: StepModel,
        candidates: Sequence[str],
        also_trained: Sequence[str] = (),
        width: int | None = None,
    ) -> None:
        self.model = model = split_layers(model.eval().requires_grad_(False), candidates)
        self.candidates = tuple(candidates)
        self.fixed, self.varying = split_at_candidates(model.rounds, {*candidates, *also_trained})
        for name in self.candidates:
            model.skips[name] = new_skip_adapter(model, name, width)
        self._last = trim_last_round(model, self.varying[-1])

    def encode(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the streams in front of the first candidate, the same for every subset, and the rest of the batch.

        Args:
            batch: the family's inputs, (B, ...) by name, and whatever else; what is no input is passed on.
        """
        names = FAMILIES[self.model.family].input_names
        streams = self.model.advance(self.model.prologue(**{name: batch[name] for name in names}), self.fixed)
        return {**{name: value for name, value in batch.items() if name not in names}, **streams}

    def logits(self, streams: Mapping[str, Tensor], skipped: Collection[str]) -> Tensor:
        """Return the logits, (B, classes), with the layers ``skipped`` routed through their adapters.

        ``streams`` are those of :meth:`encode`: most (B, N, D), masks (B, N) or (B, 1, 1, N).
        """
        routed = {name: self.model.skips[name] for name in skipped}
        return self.model.epilogue(self.model.advance(dict(streams), self.varying, routed))

    @torch.inference_mode()
    def logits_of_all(
        self, streams: Mapping[str, Tensor], subsets: Collection[frozenset[str]]
    ) -> Iterator[tuple[frozenset[str], Tensor]]:
        """Yield each subset with its logits, (B, classes), as :meth:`streams_of_all` walks them."""
        for subset, last in self.streams_of_all(streams, subsets):
            yield subset, self.answer(last)

    @torch.inference_mode()
    def streams_of_all(
        self, streams: Mapping[str, Tensor], subsets: Collection[frozenset[str]]
    ) -> Iterator[tuple[frozenset[str], Streams]]:
        """Yield each subset with its last streams, (B, N, D); what subsets have in common from the start runs once.

        The rounds are walked depth first, so that no more streams are kept than there are rounds. Of a kept layer in
        the last one no more is computed than the epilogue reads. On a GPU they run in bfloat16: this is for scoring,
        not for training.
        """
        yield from self._descend(dict(streams), 0, frozenset(subsets))

    @torch.inference_mode()
    def answer(self, last: Streams) -> Tensor:
        """Return the logits, (B, classes), of the last streams."""
        with self._autocast():
            return self.model.epilogue(last).float()

    @torch.inference_mode()
    def read(self, last: Streams) -> Tensor:
        """Return the tokens of the last streams that the head reads, normed, (B, D): of all the first and the mean."""
        readouts = FAMILIES[self.model.family].readout(self.model.dims, self.model.task)
        both: tuple[Readout, ...] = ("first", "mean")
        tokens = [
            read_tokens(last, name, kind)
            for name, readout in readouts.items()
            for kind in (both if readout == "all" else (readout,))
        ]
        return torch.cat([F.layer_norm(token.flatten(1).float(), token.shape[-1:]) for token in tokens], 1)

    def _descend(
        self, streams: Streams, depth: int, subsets: frozenset[frozenset[str]]
    ) -> Iterator[tuple[frozenset[str], Streams]]:
        if depth == len(self.varying):
            yield from ((subset, streams) for subset in subsets)
            return
        round_ = self.varying[depth]
        here = {step.name for step in round_}
        written: dict[tuple[str, bool], Streams] = {}

        def output(step: Step, skipped: bool) -> Streams:
            if (step.name, skipped) not in written:
                with self._autocast():
                    written[step.name, skipped] = self.run_step(streams, step, skipped)
            return written[step.name, skipped]

        alike: defaultdict[frozenset[str], set[frozenset[str]]] = defaultdict(set)
        for subset in subsets:
            alike[subset & here].add(subset)
        for skipped, members in sorted(alike.items(), key=lambda pair: sorted(pair[0])):
            after = dict(streams)
            for step in round_:
                after |= output(step, step.name in skipped)
            yield from self._descend(after, depth + 1, frozenset(members))

    def run_step(self, streams: Streams, step: Step, skipped: bool) -> Streams:
        """Return the streams, (B, N, D) or of the last round maybe (B, 1, D), that a step or its adapter writes."""
        if skipped:
            return {step.stream: self.model.skips[step.name](streams[step.stream])}
        step, block = self._last.get(step.name, (step, self.model.blocks[step.name]))
        return step.named(block(*(streams.get(name) for name in step.reads)))

    def _autocast(self) -> torch.autocast:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def adapters(self) -> list[nn.Parameter]:
        """Return the parameters of the skip adapters of all candidates."""
        return [parameter for name in self.candidates for parameter in self.model.skips[name].parameters()]


def parallel_adapters(model: StepModel) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of the parallel adapters by the step they sit in; none in an ordinary fine-tuned model."""
    adapters: dict[str, list[nn.Parameter]] = {}
    for step in steps_of(model.rounds):
        beside = [module for module in model.blocks[step.name].modules() if isinstance(module, Adapter)]
        if beside and not step.skipped:
            adapters[step.name] = [parameter for module in beside for parameter in module.parameters()]
    return adapters
