"""``das compress``: search, cut and recover one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.errors import CheckFailed, usage_error
from das.commands import options as o

NO_SETTINGS = ("seeds", "resume", "dry_run", "details", "json")  # how it is done and shown, not what


def compress(
    context: typer.Context,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CKPT]", help="A fine-tuned checkpoint; left out with --from.", callback=o.mention_download
        ),
    ] = None,
    task: o.Task = None,
    skip: o.Skip = None,
    layers: Annotated[str | None, typer.Option(help="Skip exactly these, e.g. FL1,FV0; no search.")] = None,
    max_macs: o.MaxMacs = None,
    max_params: o.MaxParams = None,
    max_latency: o.MaxLatency = None,
    at: o.At = None,
    runtime: o.Runtime = None,
    max_drop: o.MaxDrop = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Use that run's search, checkpoint and settings again.",
            autocompletion=o.complete_run,
        ),
    ] = None,
    scope: o.Scope = None,
    granularity: o.Granularity = "layer",
    strategy: o.Strategy = None,
    balanced: o.Balanced = False,
    merge_tokens: o.MergeTokens = None,
    replace: o.Replace = "adapter",
    recover: o.Recover = "train",
    adapt: o.Adapt = False,
    train_head: Annotated[
        bool, typer.Option("--train-head", help="Train the head while recovering.", rich_help_panel=o.TRAINING)
    ] = False,
    parallel_width: o.ParallelWidth = None,
    skip_width: o.SkipWidth = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="With --adapt: a run of --skip 0, whose score stands as the full model's.",
            autocompletion=o.complete_run,
        ),
    ] = None,
    data: o.Data = None,
    columns: o.Columns = None,
    holdout: o.Holdout = None,
    calibration: o.Calibration = None,
    tokenizer: o.Tokenizer = None,
    image_size: o.ImageSize = None,
    text_length: o.TextLength = None,
    search_epochs: o.SearchEpochs = 3,
    recover_epochs: o.RecoverEpochs = 10,
    batch_size: o.BatchSize = 64,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = 0,
    seeds: o.Seeds = None,
    device: o.Device = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/<name>.", rich_help_panel=o.OUTPUT)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate inputs and print the plan; train and write nothing.")
    ] = False,
    details: o.Details = False,
    json: o.Json = False,
) -> None:
    """Find the layers a fine-tuned model does not need, remove them, and train adapters in their place.

    Example: [bold]das compress meter.ckpt --task vqa --skip 8[/]

    A budget takes the place of --skip: [bold]--max-macs 0.8x[/], [bold]--max-latency 40ms[/], [bold]--max-drop 1[/].

    Tokens of images that are alike can be merged as well: [bold]--merge-tokens 0.3x[/], alone with --skip 0.

    From an earlier search: [bold]das compress --from runs/latest --skip 4[/]

    Several seeds: [bold]das compress meter.ckpt --skip 8 --seeds 0,1,2[/]

    Next: [bold]das export --onnx --trt[/], [bold]das profile[/]
    """
    from compressor.search.reuse import settings_of
    from das import api, stages
    from das.render.print_compare import print_seeds
    from das.render.print_report import print_dry_run, print_report
    from das.seeds.compress_seeds import plan_seeds, read_seeds, run_seeds
    from das.terminal import print_json, progress, shorten_path
    from profiles.gates.budget_check import check_budget, with_runtime

    typed = o.read_typed(context, without=NO_SETTINGS)
    chosen = None if seeds is None else read_seeds(seeds, beside="seed" in typed)
    if chosen and details:
        raise usage_error(
            "details-of-seeds",
            "--details with --seeds",
            "the table of all seeds",
            "drop it: each run has its report.html",
        )
    settings = with_runtime(settings_of(**typed))
    if dry_run:
        outlook = plan_seeds(settings, chosen, resume) if chosen else stages.dry_run(settings, resume)
        print_json(outlook) if json else print_dry_run(outlook)
        return
    command = o.command_line()
    if chosen:
        table, problems = run_seeds(settings, chosen, command=command, resume=resume, progress=progress())
        print_json(table) if json else print_seeds(table)
        if problems:
            raise CheckFailed(*problems)
        return
    run, report = api.compress_and_report(settings, command=command, resume=resume, progress=progress())
    if report:
        print_json(report) if json else print_report(report, shorten_path(run.path), details)
        check_budget(report.budget, run)
