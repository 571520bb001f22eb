"""``das.tune``: a checkpoint adapted by another method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.progress import QUIET, Progress

if TYPE_CHECKING:
    from compressor.tuning.tuned import Tuned


def tune(
    checkpoint: str | Path,
    method: str,
    task: str | None = None,
    *,
    data: str | Path | None = None,
    columns: str | Mapping[str, str] | None = None,
    tokenizer: str | Path | None = None,
    image_size: int | None = None,
    text_length: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = QUIET,
) -> Tuned:
    """Adapt a pre-trained checkpoint by a method of the paper's Table C, and save what was trained.

    What is None is taken from the defaults of :class:`compressor.tuning.tune_settings.TuneSettings`.

    Args:
        checkpoint: a pre-trained checkpoint.
        method: ``full``, ``bitfit``, ``prefix``, ``lora``, ``adapter`` or ``mam`` (docs/baselines.md).
        task: name of the task; None takes the family's only one.
        data: folder of the data; None looks around.
        columns: that have names of their own, by what they hold: ``"text=review,label=sentiment"``.
        tokenizer: file, folder or Hugging Face name; None looks around.
        image_size: pixels.
        text_length: most tokens of a text; longer ones are cut.
        epochs: passes over the data; None is the method's.
        batch_size: samples of a training step.
        learning_rate: peak of what the method trains; None is the method's.
        seed: of everything that is drawn.
        device: ``cpu`` or ``cuda``.
        out: folder of what is trained; None is ``runs/<name>``.
        resume: go on with an interrupted tuning of the same settings.
        progress: told about every stage.

    Raises:
        UsageError: impossible options, all of them at once.
        DasError: as :func:`compressor.tuning.tune.tune` says.
    """
    from compressor.settings import read_options
    from compressor.tuning.tune import tune as adapt
    from compressor.tuning.tune_settings import TuneSettings

    settings = read_options(
        TuneSettings,
        "das.tune",
        checkpoint=checkpoint,
        method=method,
        task=task,
        data=data,
        columns=columns,
        tokenizer=tokenizer,
        image_size=image_size,
        text_length=text_length,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        out=out,
    )
    return adapt(settings, progress, resume=resume)
