"""The sizes of the model in a checkpoint, and what a user may change of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from compressor.architectures.asked_sizes import find_impossible_length, find_impossible_sides
from compressor.checkpoints.recognise import Recognised
from compressor.errors import Checks, Problem, UsageError, first_line, input_error
from compressor.families.key_mapping import Unsupported
from compressor.values import list_faults


@dataclass(frozen=True)
class Transfer:
    """Settings for adapting a pre-trained checkpoint to a task it was not trained for (``--adapt``).

    Args:
        classes: outputs of the task's new head, when the checkpoint has none.
        parallel_width: bottleneck of the parallel adapters; None is the checkpoint's own, else the family's.

    """

    classes: int
    parallel_width: int | None = None


def read_dims(source: Recognised, task: str | None) -> tuple[Any, tuple[str, ...]]:
    """Return the dims of a checkpoint's model, without a head for None, and notes on where they come from.

    Raises:
        InputError: other files of its folder are damaged or ask for what das does not do.
        Exception: what tensors and settings of impossible sizes raise, see :func:`sizes_that_fit`.
    """
    dims = source.format.read_dims(source.state, source.checkpoint.config, task)
    return source.format.read_beside(dims, source.checkpoint.path) if source.format.read_beside else (dims, ())


def check_sizes(
    source: Recognised,
    task: str,
    image_size: int | None,
    text_length: int | None,
    parallel_width: int | None = None,
    skip_width: int | None = None,
) -> None:
    """Refuse sizes that a model of the checkpoint cannot have, before anything is loaded.

    Raises:
        InputError: the checkpoint's own sizes fit nothing.
        UsageError: an impossible image size, text length, or width of adapters.
    """
    with sizes_that_fit(source):
        dims, _ = read_dims(source, task)
    checks = Checks()
    with checks:
        change_dims(source, dims, image_size, None, text_length, own_head=True)
    if problems := tuple(_check_widths(dims, parallel_width, skip_width)):
        with checks:
            raise UsageError(*problems)
    checks.raise_found()


def has_own_head(source: Recognised, task: str, classes: int | None, adapt: bool) -> bool:
    """Return whether the checkpoint's head for ``task`` is used: ``--adapt`` replaces one for other classes.

    Raises:
        InputError: its sizes cannot be read.
    """
    if not source.has_head(task):
        return False
    if not adapt:
        return True
    with sizes_that_fit(source):
        dims = source.format.read_dims(source.state, source.checkpoint.config, task)
    return bool(dims.classes == (source.family.heads[task].classes or classes))


def change_dims(
    source: Recognised,
    dims: Any,
    image_size: int | None,
    transfer: Transfer | None,
    text_length: int | None,
    own_head: bool,
    longest: int | None = None,
) -> Any:
    """Return the checkpoint's dims with what the user asked for; ``longest`` are the tokenizer's most tokens of a text.

    Raises:
        UsageError: an impossible image size or text length.
    """
    changes: dict[str, Any] = {}
    if image_size is not None:
        changes["image_size"] = image_size
    if text_length is not None:
        changes["text_length"] = text_length
    elif longest is not None:
        changes["text_length"] = min(dims.text_length, longest)
    family = source.family
    problems = (
        *find_impossible_sides(family.name, dims, [] if image_size is None else [image_size]),
        *find_impossible_length(family.name, dims, text_length, family.masks_texts),
    )
    if problems:
        raise UsageError(*problems)
    if transfer is not None and not own_head:
        changes["classes"] = transfer.classes
    if transfer is not None and not dims.parallel_width:
        own = max(1, round(dims.hidden * source.family.parallel_fraction))
        changes["parallel_width"] = transfer.parallel_width or own
    return dims.model_copy(update=changes)


def _check_widths(dims: Any, parallel_width: int | None, skip_width: int | None) -> Iterator[Problem]:
    for option, width in (("--parallel-width", parallel_width), ("--skip-width", skip_width)):
        if width is not None and width > dims.hidden:
            found, expected = f"{option} {width}", f"a bottleneck: at most the width of the streams, {dims.hidden}"
            yield Problem("width-too-large", found, expected, f"drop {option}")
    if dims.parallel_width and parallel_width not in (None, dims.parallel_width):
        found = f"--parallel-width {parallel_width}: the checkpoint brings parallel adapters along"
        expected = f"their own width, {dims.parallel_width}"
        yield Problem("adapter-width-differs", found, expected, "drop --parallel-width")


def note_text_length(own: int, asked: int | None, longest: int | None) -> tuple[str, ...]:
    """Return a note where the tokenizer's ``longest`` text is less than what the model takes or the user asked for."""
    if longest is None or longest >= (asked or own):
        return ()
    limit = f"the {longest} tokens that the tokenizer's files name"
    if asked is None:
        return (f"texts are cut to {limit}; the model takes {own}",)
    return (f"--text-length {asked} is more than {limit}",)


@contextmanager
def sizes_that_fit(source: Recognised) -> Iterator[None]:
    """Turn what tensors and settings of impossible sizes raise into input errors."""
    path, family = source.checkpoint.path, source.family.name
    try:
        yield
    except KeyError as missing:
        raise input_error(
            "tensors-missing",
            f"{path} lacks the key {source.format.keys.checkpoint_name(str(missing.args[0]))}",
            f"every tensor of a {family} checkpoint",
            "save the whole state dict, or copy the file again",
        ) from None
    except Unsupported as error:
        raise input_error(
            "setting-not-supported",
            f"{path} is sound, and das does not compute what it asks for: {error}",
            f"a {family} as it was published",
            "give a checkpoint without that setting; nothing needs repair in this one",
        ) from None
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError, AttributeError) as error:
        reason = "; ".join(list_faults(error)) if isinstance(error, ValidationError) else first_line(error)
        raise input_error(
            "model-does-not-fit-together",
            f"{path} has tensors or settings that make no {family}: {reason}",
            "shapes and settings that fit together",
            "check which training run the file came from",
        ) from error
