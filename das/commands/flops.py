"""``das flops``: the MACs of a model, from its sizes alone."""

from __future__ import annotations

from typing import Annotated

import typer

from das.commands import options as o


def flops(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="A family of models, e.g. meter.")],
    image_size: Annotated[
        str | None, typer.Option(help="Pixels; HEIGHTxWIDTH where images have any shape. Default: the family's own.")
    ] = None,
    text_length: Annotated[int | None, typer.Option(help="Tokens. Default: the family's own.")] = None,
    skip_layers: Annotated[
        str | None, typer.Option(help="Layers replaced by their skip adapters, e.g. FV0,FV4 or FL*,LEn6-11.")
    ] = None,
    parallel_adapters: Annotated[
        bool, typer.Option("--parallel-adapters", help="Kept layers carry the paper's parallel adapters.")
    ] = False,
    parallel_width: Annotated[
        int | None, typer.Option(help="Bottleneck of the parallel adapters. Default: the family's own.")
    ] = None,
    skip_width: Annotated[
        int | None, typer.Option(help="Bottleneck of the skip adapters. Default: the family's own.")
    ] = None,
    merge_tokens: o.MergeTokens = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also count on the traced graph and on the operators that PyTorch executes.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Count the MACs of a model, and the difference to the plain full one; no checkpoint, no weights.

    The formula answers at once; --check puts two other counts beside it.

    Example: [bold]das flops meter --image-size 384 --text-length 40 --skip-layers FV0,FV4 --parallel-adapters[/]

    Next: [bold]das inspect meter.ckpt[/]
    """
    from das import api
    from das.render.print_flops import print_flops
    from das.terminal import print_json

    report = api.flops(
        family,
        image_size=o.read_image_shape(image_size),
        text_length=text_length,
        skip_layers=o.split_names(skip_layers),
        parallel_adapters=parallel_adapters,
        parallel_width=parallel_width,
        skip_width=skip_width,
        merge_tokens=merge_tokens,
        check=check,
    )
    print_json(report) if json else print_flops(report)
