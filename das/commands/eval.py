"""``das eval``: the score of a checkpoint or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.errors import usage_error
from das.commands import options as o


def evaluate(
    subject: Annotated[
        Path, typer.Argument(metavar="[CKPT|RUN]", help="A full checkpoint or a run folder. Default: runs/latest.")
    ] = Path("runs/latest"),
    task: o.Task = None,
    data: o.Data = None,
    tokenizer: o.Tokenizer = None,
    text_length: o.TextLength = None,
    batch_size: o.BatchSize = 64,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Score a full checkpoint or a compressed run on the task's evaluation split.

    Example: [bold]das eval runs/latest[/]
    """
    from compressor.device import choose_device
    from compressor.evaluation.evaluate import evaluate as score
    from compressor.evaluation.open_data import open_for_evaluation
    from compressor.tasks import TASKS
    from das.terminal import console, print_json, progress

    if batch_size < 1:
        raise usage_error("batch-size-too-small", f"--batch-size {batch_size}", "at least 1 sample", "--batch-size 64")
    drawn = progress()
    with drawn.stage("Opening model and data"):
        model, found, notes = open_for_evaluation(subject, task, o.text(data), tokenizer, text_length)
    for note in notes:
        drawn.say(f"note: {note}")
    model.to(choose_device(device))
    kind = TASKS[model.task]
    scored = [
        (
            split.describe(),
            score(model, split, kind, metrics=found.metrics, batch_size=batch_size, progress=drawn).score,
        )
        for split in (found.evaluation, *found.extra)
    ]
    if json:
        (where, result), *apart = scored
        beside = {split["name"]: {**further.model_dump(), "split": split} for split, further in apart}
        print_json({"schema_version": 1, **result.model_dump(), "split": where, "apart": beside})
        return
    for where, result in scored:
        console.print(f"{where['name']}: {result.metric} {100 * result.value:.2f} ± {100 * result.margin:.2f} %")
        for name, value in result.parts.items():
            console.print(f"  {name} {100 * value:.2f}")
        console.print(f"  on {result.samples} {kind.samples} of {', '.join(where['files'])}, loss {result.loss:.4f}")
