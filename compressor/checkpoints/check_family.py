"""Is a family what it declares: das's model against the library's own, and against itself.

The checks of an export compare with das's model. Where the family makes another model of a checkpoint than the one that
was trained, they do not notice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.recognise import Recognised, recognise
from compressor.errors import CheckFailed, Problem
from compressor.families.family import Family, Input
from compressor.models.padding import zero_padding
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.check_trims import check_trims

LENGTHS = (9, 5, 12)  # of the texts, in tokens
TOLERANCE = 1e-5  # of logits, in units of the largest, where that is above 1
CORRECT = "correct the family's declaration (docs/add-a-family.md)"


@torch.no_grad()
def check_family(library: PreTrainedModel, task: str | None = None, seed: int = 0) -> None:
    """Save a model of transformers, load it with das, and compare both on random padded inputs.

    Compared are the logits; a text alone and beside longer ones; the tensors that das would write; and the model with
    its exact trims, whole, without its last layer, and without all but its first.

    Args:
        library: a small one with a head; it is copied, and the copy's weights are drawn wide enough for a difference to
            show.
        task: whose head it has, where it could be another's.
        seed: of weights and inputs.

    Raises:
        CheckFailed: what differs; of the trims the first that do.
        InputError: no family knows the model, or its tensors do not fit together.
    """
    torch.manual_seed(seed)
    drawn = copy.deepcopy(library).eval().float()
    for parameter in drawn.parameters():
        parameter.normal_(std=0.3)
    with TemporaryDirectory() as folder:
        drawn.save_pretrained(folder)
        source = recognise(folder)
        model = load_checkpoint(source, task).model
    inputs = {entry.name: _draw(entry, source.family, model.dims) for entry in source.family.inputs}
    if problems := [*_compare_logits(model, drawn, source.family, inputs), *_compare_keys(model, source)]:
        raise CheckFailed(*problems)
    last, rest = model.layers[-1:], model.layers[1:]
    for skipped in ((), last, rest):
        check_trims(remove_layers(model, make_plan(model, skipped)) if skipped else model, inputs)


def _draw(entry: Input, family: Family, dims: Any) -> Tensor:
    """Return one input of a few samples: random tokens but the padding token's, padded, and random images."""
    lengths = torch.tensor([min(length, dims.longest_text) for length in LENGTHS])[:, None]
    valid = torch.arange(int(lengths.max())) < lengths
    if entry.modality == "image":
        shape = (len(LENGTHS), *family.example_inputs(dims)[entry.name].shape[1:])
        return torch.ones(shape, dtype=entry.dtype) if entry.mask else torch.randn(shape)
    if entry.mask:
        return valid.to(entry.dtype)
    if entry.name == "token_type_ids":
        return torch.randint(dims.text_types, valid.shape) * valid
    padding = dims.text_padding or 0
    tokens = torch.randint(dims.text_vocabulary - 1, valid.shape)
    return torch.where(valid, tokens + (tokens >= padding), padding)


def _compare_logits(
    model: StepModel, library: PreTrainedModel, family: Family, inputs: Mapping[str, Tensor]
) -> Iterator[Problem]:
    ours, theirs = model(**inputs), zero_padding(library(**inputs).logits, inputs)
    name = type(library).__name__
    if ours.shape != theirs.shape:
        found = f"logits {tuple(ours.shape)} of the {family.name}, and {tuple(theirs.shape)} of {name}"
        yield Problem("family-differs", found, "the same shape", f"{CORRECT}: a pooler is given (B, 1, D)")
    elif not (apart := _distance(ours, theirs)) <= TOLERANCE:
        found = f"logits of the {family.name} that differ from those of {name} by {apart:.2g} of the largest"
        yield Problem("family-differs", found, f"at most {TOLERANCE:g}", CORRECT)
    alone = model(**family.cut({key: x[1:2] for key, x in inputs.items()}, length=min(LENGTHS)))
    if ours.shape[1:] == alone.shape[1:] and not (apart := _distance(ours[1:2], alone)) <= TOLERANCE:
        found = f"logits of the {family.name} that differ by {apart:.2g} of the largest where a text is padded"
        yield Problem("family-reads-padding", found, "those of the text alone", CORRECT)


def _compare_keys(model: StepModel, source: Recognised) -> Iterator[Problem]:
    table = source.format.table(model.task)
    written = table.to_checkpoint(model.state_dict())
    wrong = sorted({*written} - {*source.state})
    wrong += [key for key, x in written.items() if key in source.state and not torch.equal(x, source.state[key])]
    if wrong:
        found = f"{len(wrong)} tensors that are written otherwise than they are read: {', '.join(wrong[:4])}"
        yield Problem("family-keys", found, "names that can be read in both directions", CORRECT)


def _distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))
