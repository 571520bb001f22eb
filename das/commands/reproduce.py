"""``das reproduce``: a table of the paper on one's own checkpoint and data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o

PASSED_ON = (
    *("data", "columns", "tokenizer", "image_size", "text_length"),
    *("search_epochs", "recover_epochs", "batch_size", "device"),
)
"""Options that every row is made with."""


def reproduce(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="table-a, table-b or table-c.")],
    checkpoint: o.Checkpoint,
    task: o.Task = None,
    seeds: Annotated[int, typer.Option(help="Runs of each row, with seeds 0, 1, ...")] = 3,
    rows: Annotated[
        str | None, typer.Option(metavar="NAME[,NAME]", help="These rows alone; --dry-run names them.")
    ] = None,
    data: o.Data = None,
    columns: o.Columns = None,
    tokenizer: o.Tokenizer = None,
    image_size: o.ImageSize = None,
    text_length: o.TextLength = None,
    search_epochs: o.SearchEpochs = 3,
    recover_epochs: o.RecoverEpochs = 10,
    batch_size: o.BatchSize = 64,
    device: o.Device = None,
    seconds: Annotated[
        float, typer.Option(help="How long all models are timed at the end.", rich_help_panel=o.OUTPUT)
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of all runs. Default: runs/TABLE-CKPT.", rich_help_panel=o.OUTPUT),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Steps, hours, disk and memory of each row; train and write nothing.")
    ] = False,
    details: o.Details = False,
    json: o.Json = False,
) -> None:
    """Run the rows of a table of the paper on a checkpoint and data of your own, and put its figures beside yours.

    Every row and seed is a run folder. Finished ones are kept: after Ctrl-C, or with more --seeds, the same command
    goes on (docs/reproduce.md).

    Example: [bold]das reproduce table-b meter.ckpt --task vqa --data data --dry-run[/]

    Next: [bold]das compare RUN RUN[/] with folders that it names
    """
    from das.reproduction.asked_table import AskedTable
    from das.reproduction.outlook import plan_table
    from das.reproduction.print_reproduction import print_plan, print_reproduction
    from das.reproduction.run_rows import check_complete, run_table
    from das.terminal import print_json, progress

    typed = o.read_typed(context, without=())
    asked = AskedTable(
        table=table,
        checkpoint=checkpoint,
        task=task,
        seeds=seeds,
        rows=None if rows is None else o.split_names(rows),
        out=out,
        seconds=seconds,
        options={name: typed[name] for name in PASSED_ON if name in typed},
    )
    if dry_run:
        plan = plan_table(asked, progress())
        print_json(plan) if json else print_plan(plan)
        return
    report = run_table(asked, o.command_line(), progress())
    if report:
        print_json(report) if json else print_reproduction(report, details)
        check_complete(report)
