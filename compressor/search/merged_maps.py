"""What skipped layers did, merged into the layer in front of them: nothing is added to the model.

Where norms come first, a layer ends in a linear map whose output m is added to the stream, x + m. The map T for which
x + m T comes closest to the full model's stream behind the skipped layers is found by ridge regression, and multiplied
into the layer's last map: exactly, as nothing lies between (ReplaceMe, Shopkhoev et al., 2025, arXiv 2505.02819). The
ridge draws T to the identity, which is plain removal. Where a norm comes last, as in BERT, the stream is no such sum,
and nothing can be merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import torch
from torch import Tensor, nn

from compressor.models.steps import StepModel, Streams, valid_tokens

RIDGE = 1e-2  # of the mean square of the inputs


class MapRegression:
    """Sums over rows of what a linear layer gives and of what is missing behind it.

    Args:
        width: of both.
        constant: whether a constant may be added, too.
    """

    def __init__(self, width: int, constant: bool) -> None:
        self.constant = constant
        self.rows, size = 0, width + constant
        self.squares, self.products = torch.zeros(size, size).double(), torch.zeros(size, width).double()

    def add(self, given: Tensor, missing: Tensor) -> None:
        """Add rows, (n, width) each."""
        ones = given.new_ones(len(given), int(self.constant))
        x = torch.cat((given, ones), 1).double().cpu()
        self.rows += len(x)
        self.squares += x.T @ x
        self.products += x.T @ missing.double().cpu()

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return what to add to the identity, (width, width), and the constant, (width,), 0 where there is none."""
        width = self.products.shape[1]
        ridge = RIDGE * self.squares.diag()[:width].mean().clamp_min(1e-12)
        weights = torch.full((len(self.squares),), float(ridge), dtype=torch.float64)
        weights[width:] = 0  # the constant is not held small
        solved = torch.linalg.solve(self.squares + weights.diag() + 1e-12 * torch.eye(len(weights)), self.products)
        return solved[:width], solved[width:].sum(0)


def merge_maps(
    full: StepModel, slim: StepModel, absorbers: Mapping[str, str], batches: Sequence[Streams]
) -> tuple[nn.Parameter, ...]:
    """Merge what skipped layers did into the layers in front of them; return the parameters of ``slim`` that changed.

    Each run of skipped layers is made up for on the streams of the model that is already slim in front of it.

    Args:
        full: the model before surgery, of which each layer that is skipped is a round of its own.
        slim: without some of its layers, and nothing in their place; changed in place.
        absorbers: by pool, path of the last linear map in a block; a scale behind it is folded into it by
            ``fold_scale``.
        batches: calibration samples behind the prologue.
    """
    changed: list[nn.Parameter] = []
    before = after = list(batches)  # of the slim and the full model
    with torch.no_grad():
        for number, (step, *_) in enumerate(slim.rounds):
            after = [full.advance(streams, (full.rounds[number],)) for streams in after]
            if step.skipped:
                continue
            further = takewhile(lambda round_: round_[0].skipped, slim.rounds[number + 1 :])
            gone = len([round_ for round_ in further if round_[0].stream == step.stream])
            if gone and step.pool and step.pool in absorbers:
                behind = full.rounds[number + 1 : number + 1 + gone]
                wanted = [full.advance(streams, behind)[step.stream] for streams in after]
                block = slim.blocks[step.name]
                if hasattr(block, "fold_scale"):
                    block.fold_scale()  # type: ignore[operator]
                last = block.get_submodule(absorbers[step.pool])
                changed += _merge(slim, number, last, before, wanted)  # type: ignore[arg-type]
            before = [slim.advance(streams, (slim.rounds[number],)) for streams in before]
    return tuple(changed)


def _merge(
    slim: StepModel, number: int, last: nn.Linear, before: Sequence[Streams], wanted: Sequence[Tensor]
) -> list[nn.Parameter]:
    """Change the last map of a round's block so that the round's stream comes closest to what is wanted."""
    stream = slim.rounds[number][0].stream
    regression = MapRegression(last.out_features, last.bias is not None)
    given: list[Tensor] = []
    hook = last.register_forward_hook(lambda module, inputs, output: given.append(output))
    for streams, target in zip(before, wanted, strict=True):
        written = slim.advance(streams, (slim.rounds[number],))
        real = valid_tokens(written, stream)
        regression.add(given.pop()[real], (target - written[stream])[real])
    hook.remove()
    change, constant = (part.to(last.weight) for part in regression.solve())
    last.weight.add_(change.T @ last.weight)
    if last.bias is not None:
        last.bias.add_(last.bias @ change + constant)
    return list(last.parameters())
