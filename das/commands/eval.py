"""``das eval``: the score of a checkpoint or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def evaluate(
    subject: Annotated[
        Path,
        typer.Argument(
            metavar="[CKPT|RUN]",
            help="A full checkpoint or a run folder. Default: runs/latest.",
            autocompletion=o.complete_run,
            callback=o.mention_download,
        ),
    ] = Path("runs/latest"),
    task: o.Task = None,
    data: o.Data = None,
    columns: o.Columns = None,
    tokenizer: o.Tokenizer = None,
    text_length: o.TextLength = None,
    batch_size: Annotated[int, typer.Option(help="Samples that are answered in one call.")] = 64,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Score a full checkpoint or a compressed run on the task's evaluation split.

    A split without answers is scored by the test server of its data: [bold]das answers[/] writes the file.

    Example: [bold]das eval runs/latest[/]
    """
    from das import stages
    from das.render.print_report import print_scores
    from das.terminal import print_json, progress

    scores = stages.evaluate(
        subject,
        task,
        data=data,
        columns=columns,
        tokenizer=tokenizer,
        text_length=text_length,
        batch_size=batch_size,
        device=device,
        progress=progress(),
    )
    print_json(scores) if json else print_scores(scores)
