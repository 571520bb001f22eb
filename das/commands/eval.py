"""``das eval``: the score of a checkpoint or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def evaluate(
    subject: Annotated[Path, typer.Argument(metavar="CKPT|RUN", help="A full checkpoint or a run folder.")],
    task: o.Task = None,
    data: o.Data = None,
    tokenizer: o.Tokenizer = None,
    batch_size: o.BatchSize = 64,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Score a full checkpoint or a compressed run on the task's evaluation split.

    Example: [bold]das eval runs/latest[/]
    """
    from compressor.evaluation import evaluate as score
    from compressor.job import choose_device, open_for_evaluation
    from compressor.tasks import TASKS
    from das.terminal import console, print_json, progress

    model, found = open_for_evaluation(subject, task, o.text(data), tokenizer)
    model.to(choose_device(device))
    result = score(model, found.evaluation, TASKS[model.task], batch_size=batch_size, progress=progress()).score
    if json:
        print_json({"schema_version": 1, **result.model_dump(), "split": found.evaluation.describe()})
    else:
        where = found.evaluation.describe()
        console.print(f"{result.metric} {100 * result.value:.2f} ± {100 * result.margin:.2f} %")
        console.print(f"on {result.samples} questions of {', '.join(where['files'])}, loss {result.loss:.4f}")
