"""A run that skips nothing, whose model stands for the full one where that has no trained head (``--reference``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compressor.data.splits import Split
from compressor.errors import input_error
from compressor.saved_run.manifest import Source
from compressor.saved_run.run_folder import Run, open_run
from compressor.settings import Settings

RECIPE = ("parallel_width", "recover", "recover_epochs", "batch_size", "learning_rate")


def open_reference_run(path: str, task: str) -> Run:
    """Open a run of ``--adapt`` for a task that skips nothing.

    Raises:
        InputError: no run there, or one of another kind.
    """
    run = open_run(path)
    made = run.manifest
    wrong = [f"is for {made.task}"] * (made.task != task)
    wrong += ["is of a fine-tuned checkpoint, which is its own reference"] * (not made.settings.adapt)
    wrong += [f"skips {', '.join(made.plan.layers)}"] * bool(made.plan.skip)
    if wrong:
        raise input_error(
            "reference-unsuitable",
            f"--reference {path} {' and '.join(wrong)}",
            f"a run for {task} with --adapt that skips nothing",
            "das compress CKPT --adapt --skip 0 makes one; das compress --from RUN --skip 0 with a run's settings",
        )
    return run


def check_reference(run: Run, source: Source, dims: Any, labels: Sequence[str], splits: Sequence[Split]) -> None:
    """Hold that a reference is of the same checkpoint, sizes, classes and data as a run that is to be made.

    Args:
        run: the reference.
        source: the checkpoint of the run to be.
        dims: of its model.
        labels: name of each of its classes.
        splits: training, held-out and evaluation split, and further ones; what is held out scores no model.

    Raises:
        InputError: names everything that differs.
    """
    if differences := tuple(_differences(run, source, dims, labels, splits)):
        raise input_error(
            "reference-differs",
            f"{run.path} is of another job: {'; '.join(differences)}",
            "a reference of the same checkpoint, sizes and data",
            "make one with the same options: --adapt --skip 0",
        )


def _differences(run: Run, source: Source, dims: Any, labels: Sequence[str], splits: Sequence[Split]) -> Iterator[str]:
    made, theirs = run.manifest, run.dims
    if made.source.sha256 != source.sha256:
        yield f"checkpoint {made.source.path} ({made.source.sha256[:8]}), not {source.path} ({source.sha256[:8]})"
    for name in type(dims).model_fields:
        own, other = getattr(dims, name), getattr(theirs, name)
        if own != other and name != "parallel_width":
            yield f"{name} {other}, not {own}"
    if run.labels() != tuple(labels):
        yield "classes of other names, or in another order"
    parts = {part["name"]: part for number, part in enumerate(made.data) if number != 1}
    for number, split in enumerate(splits):
        if number != 1 and _data(split.describe()) != _data(parts.get(split.name)):
            yield f"{split.name} of {_data(parts.get(split.name))}, not {_data(split.describe())}"


def _data(part: Mapping[str, Any] | None) -> str:
    return f"{part['rows']:,} rows ({part['fingerprint'][:8]})" if part else "no rows"


def remark_on_reference(run: Run, settings: Settings) -> tuple[str, ...]:
    """Return a sentence where a reference was trained otherwise than a run of ``settings`` will be, else none."""
    own, theirs = settings, run.manifest.settings
    others = [
        f"{name.replace('_', ' ')} {getattr(theirs, name)}, here {getattr(own, name)}"
        for name in RECIPE
        if getattr(own, name) != getattr(theirs, name)
    ]
    return (f"The reference was trained otherwise: {'; '.join(others)}.",) if others else ()
