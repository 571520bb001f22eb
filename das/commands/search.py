"""``das search``: the layers that would be skipped; nothing is cut."""

from __future__ import annotations

import typer

from das.commands import options as o


def search(
    context: typer.Context,
    checkpoint: o.Checkpoint,
    task: o.Task = None,
    skip: o.Skip = None,
    scope: o.Scope = None,
    strategy: o.Strategy = None,
    balanced: o.Balanced = False,
    replace: o.Replace = "adapter",
    skip_width: o.SkipWidth = None,
    data: o.Data = None,
    columns: o.Columns = None,
    holdout: o.Holdout = None,
    tokenizer: o.Tokenizer = None,
    image_size: o.ImageSize = None,
    text_length: o.TextLength = None,
    search_epochs: o.SearchEpochs = 3,
    batch_size: o.BatchSize = 64,
    learning_rate: o.LearningRate = None,
    seed: o.Seed = 0,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Search alone: print the layers that would be skipped, for every number of them.

    Example: [bold]das search meter.ckpt --task vqa --skip 8[/]

    Next: [bold]das compress meter.ckpt --layers FL1,FV0[/] with the layers it names
    """
    from compressor.settings import make_settings
    from das import stages
    from das.render.print_report import print_search
    from das.terminal import print_json, progress

    result = stages.search(make_settings(**o.read_typed(context, without=("json",)), recover="none"), progress())
    print_json(result) if json else print_search(checkpoint, result)
