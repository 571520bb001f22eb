"""``das answers``: a file of answers for a test server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def answers(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file, which is new.")],
    subject: Annotated[
        Path,
        typer.Argument(
            metavar="[CKPT|RUN]",
            help="A full checkpoint or a run folder. Default: runs/latest.",
            autocompletion=o.complete_run,
            callback=o.mention_download,
        ),
    ] = Path("runs/latest"),
    split: Annotated[
        str, typer.Option(help="Which split is answered: test, test-dev, val and others (docs/data.md).")
    ] = "test",
    task: o.Task = None,
    data: o.Data = None,
    columns: o.Columns = None,
    tokenizer: o.Tokenizer = None,
    text_length: o.TextLength = None,
    batch_size: Annotated[int, typer.Option(help="Samples that are answered in one call.")] = 64,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Write a model's answers to every sample of a split, as the test server of the data set takes them.

    Of splits without public answers this is the only way to a score: VQA v2's test and test-dev, GLUE's test. A split
    that has answers is scored, too.

    Example: [bold]das answers runs/latest --split test-dev --to answers.json[/]
    """
    from das import stages
    from das.render.print_report import print_answered
    from das.terminal import print_json, progress

    answered = stages.answer(
        subject,
        split,
        to,
        task,
        data=data,
        columns=columns,
        tokenizer=tokenizer,
        text_length=text_length,
        batch_size=batch_size,
        device=device,
        progress=progress(),
    )
    print_json(answered) if json else print_answered(answered)
