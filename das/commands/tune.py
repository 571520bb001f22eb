"""``das tune``: adapt a pre-trained checkpoint by one of the methods that DAS is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o

NO_SETTINGS = ("resume", "dry_run", "json")  # how it is done and shown, not what


def tune(
    context: typer.Context,
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CKPT", help="A pre-trained checkpoint.", callback=o.mention_download)
    ],
    method: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(o.METHOD_NAMES)}: docs/baselines.md.", autocompletion=o.complete_method),
    ],
    task: Annotated[
        str | None,
        typer.Option(help="Task, e.g. vqa. Default: the family's only one.", autocompletion=o.complete_task),
    ] = None,
    data: o.Data = None,
    columns: o.Columns = None,
    tokenizer: o.Tokenizer = None,
    image_size: o.ImageSize = None,
    text_length: o.TextLength = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the data. Default: the method's.", rich_help_panel=o.TRAINING)
    ] = None,
    batch_size: o.BatchSize = 64,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Of what the method trains. Default: the method's, scaled to width and steps.",
            rich_help_panel=o.TRAINING,
        ),
    ] = None,
    seed: o.Seed = 0,
    device: o.Device = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of what is trained. Default: runs/<name>.", rich_help_panel=o.OUTPUT)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted tuning.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate inputs and print the plan; train and write nothing.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Adapt a pre-trained checkpoint by full tuning, BitFit, prefixes, LoRA, adapters or MAM, skipping no layer.

    Poolers and head are trained as with das compress --adapt, on the same data and by the same metric.

    Example: [bold]das tune roberta-base --method lora --data sst2[/]

    Next: [bold]das compress roberta-base --adapt --skip 2 --data sst2[/] to compare with
    """
    from compressor.distributed import is_main
    from compressor.settings import read_options
    from compressor.tuning.tune import tune as adapt
    from compressor.tuning.tune_settings import TuneSettings
    from das import stages
    from das.render.print_report import print_tune_plan, print_tuned
    from das.terminal import print_json, progress, shorten_path

    settings = read_options(TuneSettings, "das.tune", **o.read_typed(context, without=NO_SETTINGS))
    if dry_run:
        outlook = stages.plan_tuning(settings, resume)
        print_json(outlook) if json else print_tune_plan(outlook)
        return
    tuned = adapt(settings, progress(), command=o.command_line(), resume=resume)
    if is_main():
        print_json(tuned) if json else print_tuned(tuned, shorten_path(Path(tuned.folder)))
