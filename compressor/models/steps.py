"""A model is a prologue, a list of rounds of steps over named streams, and an epilogue.

Everything else follows from this one idea: frozen encoders are cached by running the steps no candidate can change,
surgery edits the list, MACs and latency are taken per step, and the picture in a report is the list itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compressor.models.rounds import Rounds, Step, steps_of

Streams = dict[str, Tensor]
Pick = Callable[[Tensor], Tensor]
"""Takes one token, (B, 1, D), of a stream, (B, N, D)."""


class TokenWise(nn.Module):
    """A block whose every output token depends on the same token of the first stream it reads, and on no other."""

    def one_token(self, pick: Pick, x: Tensor, *others: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes of ``x``, (B, N, D)."""
        return self(pick(x), *others)


class TokenQuery(TokenWise):
    """A block whose every output token depends on the same token of the first stream, and on all tokens of others."""


class Keep(nn.Module):
    """Returns streams as they are: under other names, for steps that read them as they were."""

    def forward(self, *streams: Tensor) -> tuple[Tensor, ...]:
        """Return the streams, (B, N, D) each."""
        return streams


class StepModel(nn.Module):
    """A full or a slim model.

    Args:
        family: name of the family, a key of ``compressor.families``.
        task: name of the task whose head is in the epilogue.
        dims: the sizes the modules were built from (a frozen pydantic model of the family).
        prologue: called with the model's inputs, returns the first streams.
        rounds: the steps in order.
        blocks: the module of every step, by step name.
        epilogue: called with the last streams, returns the logits.

    """

    def __init__(
        self,
        family: str,
        task: str,
        dims: Any,
        prologue: nn.Module,
        rounds: Rounds,
        blocks: Mapping[str, nn.Module],
        epilogue: nn.Module,
    ) -> None:
        super().__init__()
        self.family, self.task, self.dims, self.rounds = family, task, dims, rounds
        self.prologue = prologue
        self.blocks = nn.ModuleDict({step.name: blocks[step.name] for step in steps_of(rounds)})
        self.epilogue = epilogue
        # Skip adapters by layer: those a checkpoint brought along, or the search trained; none in a slim model.
        self.skips = nn.ModuleDict()
        self.register_state_dict_post_hook(_name_once)
        self.register_load_state_dict_pre_hook(_name_everywhere)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the skippable layers still in the model, in the order they run."""
        return tuple(step.name for step in steps_of(self.rounds) if step.pool and not step.skipped)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the layers that surgery replaced by an adapter."""
        return tuple(step.name for step in steps_of(self.rounds) if step.skipped)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the logits, (B, classes), of a batch of the family's inputs."""
        return self.epilogue(self.advance(self.prologue(**inputs), self.rounds))

    def advance(
        self, streams: Streams, rounds: Rounds, routed: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> Streams:
        """Run ``rounds`` on ``streams`` and return the new streams; those given are not changed.

        A step of whose streams none is there is left out: two towers can be run one at a time.

        Args:
            streams: by name; most are (B, N, D), masks (B, N) or (B, 1, 1, N).
            rounds: some of the model's, in order.
            routed: modules that stand in for steps, by step name: each maps its step's own stream, (B, N, D), to the
                same shape, as skip adapters do in a search.
        """
        routed = routed or {}
        for round_ in rounds:
            written: Streams = {}
            for step in round_:
                if not any(name in streams for name in step.reads):
                    continue  # its modality is not given
                if step.name in routed:
                    written[step.stream] = routed[step.name](streams[step.stream])
                else:
                    written |= step.named(self.blocks[step.name](*(streams.get(name) for name in step.reads)))
            streams = {**streams, **written}
        return streams


def _name_once(model: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Leave a parameter that several blocks have in ``state`` under the first of its names only."""
    once = {name for name, _ in model.named_parameters(prefix.rstrip("."))}
    for name, _ in model.named_parameters(prefix.rstrip("."), remove_duplicate=False):
        if name not in once:
            del state[name]


def _name_everywhere(model: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
    """Put it in ``state`` under all of its names, as PyTorch expects it."""
    first = {id(parameter): name for name, parameter in model.named_parameters(prefix.rstrip("."))}
    for name, parameter in model.named_parameters(prefix.rstrip("."), remove_duplicate=False):
        if first[id(parameter)] in state:
            state[name] = state[first[id(parameter)]]


def expand_batch(x: Tensor, other: Tensor) -> Tensor:
    """Repeat each row of ``x``'s batch until there are as many as in ``other``'s, if there are fewer.

    A sample may have several rows: the two images of a pair, or the captions an image is matched with. Rows of one
    sample lie side by side, so (B, ...) becomes (B * n, ...) with each row n times in a row.
    """
    rows, target = x.shape[0], other.shape[0]  # len() would fix the number of rows in an exported graph
    if rows >= target:
        return x
    return x[:, None].expand(-1, target // rows, *x.shape[1:]).flatten(0, 1)


class Match(TokenWise):
    """Where text and image meet they need as many rows: a pair repeats its text, several captions their image."""

    def forward(self, x: Tensor | None, other: Tensor) -> Tensor | None:
        """(B, ...) and (B', ...) -> (max(B, B'), ...); None, which a mask may be, stays None."""
        return None if x is None else expand_batch(x, other)


def masks_of(stream: str) -> tuple[str, ...]:
    """Return the names that the mask of a stream may have; the first that the model makes is its mask."""
    return f"{stream}_mask", "mask"


def is_mask(name: str) -> bool:
    """Return whether a stream of this name is a mask of others."""
    return name == "mask" or name.endswith("_mask")


def valid_tokens(streams: Mapping[str, Tensor], name: str) -> Tensor:
    """Return which tokens of the stream ``name``, (B, N, D), are no padding, (B, N) bool.

    Its mask, see :func:`masks_of`, is bool and True at what takes part, or is added to attention scores and 0 there, or
    more where a token stands for several. A stream without a mask has no padding.
    """
    x = streams[name]
    mask = next((streams[mask] for mask in masks_of(name) if mask in streams), None)
    if mask is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return (mask if mask.dtype == torch.bool else mask >= 0).reshape(x.shape[:2])


def split_at_candidates(rounds: Rounds, candidates: Collection[str]) -> tuple[Rounds, Rounds]:
    """Split ``rounds`` into what no candidate can change, and the rest.

    The first part depends on the input alone, so it runs once per sample however many subsets of ``candidates`` are
    tried. A step belongs to it when it is no candidate, reads only streams that nothing in the second part wrote, and
    overwrites none that a step of the second part in front of it, or beside it, still reads.
    """
    fixed: list[tuple[Step, ...]] = []
    varying: list[tuple[Step, ...]] = []
    touched: set[str] = set()
    awaited: set[str] = set()
    for round_ in rounds:

        def waits(step: Step) -> bool:
            reads, writes = set(step.reads), set(step.writes)
            return step.name in candidates or bool(touched & (reads | writes) or awaited & writes)

        late: tuple[Step, ...] = ()
        while (waiting := tuple(step for step in round_ if step in late or waits(step))) != late:
            late = waiting
            awaited.update(name for step in late for name in step.reads)
        early = tuple(step for step in round_ if step not in late)
        touched.update(name for step in late for name in step.writes)
        fixed += [early] if early else []
        varying += [late] if late else []
    while fixed and all(step.light for step in fixed[-1]):
        varying.insert(0, fixed.pop())
    return tuple(fixed), tuple(varying)


def split_where_modalities_meet(rounds: Rounds, streams: Mapping[str, Collection[str]]) -> tuple[Rounds, Rounds]:
    """Split ``rounds`` into the encoders, which read one modality each, and the rest.

    ``streams`` names the streams of each modality. The first part may be run with other texts than images.
    """

    def modalities(step: Step) -> int:
        return sum(any(name in members for name in step.reads) for members in streams.values())

    return split_at_candidates(rounds, {step.name for step in steps_of(rounds) if modalities(step) > 1})
