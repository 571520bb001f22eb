"""``das compress``: the whole job on one checkpoint."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def compress(
    checkpoint: o.Checkpoint,
    task: o.Task = None,
    skip: o.Skip = None,
    layers: Annotated[str | None, typer.Option(help="Skip exactly these, e.g. FL1,FV0; no search.")] = None,
    scope: o.Scope = None,
    strategy: o.Strategy = None,
    recover: o.Recover = "train",
    adapt: o.Adapt = False,
    train_head: Annotated[
        bool, typer.Option("--train-head", help="Train the head while recovering.", rich_help_panel=o.TRAINING)
    ] = False,
    data: o.Data = None,
    tokenizer: o.Tokenizer = None,
    image_size: o.ImageSize = None,
    text_length: o.TextLength = None,
    search_epochs: o.SearchEpochs = 3,
    recover_epochs: o.RecoverEpochs = 10,
    batch_size: o.BatchSize = 64,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = 0,
    device: o.Device = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/<name>.", rich_help_panel=o.OUTPUT)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done.")] = False,
    json: o.Json = False,
) -> None:
    """Find the layers a fine-tuned model does not need, remove them, and train adapters in their place.

    Example: [bold]das compress meter.ckpt --task vqa --skip 8[/]

    Next: [bold]das export --onnx --trt[/], [bold]das profile[/]
    """
    from compressor.job import Settings, prepare
    from compressor.pipeline import compress as run_compression
    from compressor.pipeline import destination
    from das.render_report import print_dry_run, print_report
    from das.terminal import print_json, progress, shown
    from profiles.report import save_report

    settings = Settings(
        checkpoint=str(checkpoint),
        task=task,
        skip=skip,
        layers=o.names(layers),
        scope=scope,
        strategy=strategy,
        recover=recover,
        adapt=adapt,
        train_head=train_head,
        data=o.text(data),
        tokenizer=tokenizer,
        image_size=image_size,
        text_length=text_length,
        search_epochs=search_epochs,
        recover_epochs=recover_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        out=o.text(out),
    )
    if dry_run:
        folder = destination(settings, resume)
        print_dry_run(prepare(settings), folder, json)
        return
    drawn = progress()
    run = run_compression(settings, command=shlex.join(["das", *sys.argv[1:]]), resume=resume, progress=drawn)
    with drawn.stage("Counting MACs"):
        report = save_report(run)
    print_json(report) if json else print_report(report, shown(run.path))
