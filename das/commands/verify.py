"""``das verify``: run a run's exports on this machine and compare them with PyTorch."""

from __future__ import annotations

from typing import Annotated

import typer

from das.commands import options as o


def verify(
    run: o.RunFolder = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME]", help=f"Only what these execute: {', '.join(o.FILE_NAMES)}. Default: all."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="The same as --runtime onnxruntime.")] = False,
    trt: Annotated[bool, typer.Option("--trt", help="The same as --runtime tensorrt.")] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda, for ONNX Runtime. Default: cuda where that works.")
    ] = None,
    data: o.Data = None,
    json: o.Json = False,
) -> None:
    """Run a run's exports here, compare them with PyTorch, and audit the precision of engines.

    For the machine that an engine was built for, when it was built on another. Records and report are rewritten; of an
    export that fails only its record is left.

    Example: [bold]das verify runs/latest --trt[/]

    Next: [bold]das predict --runtime trt[/]
    """
    from das import stages
    from das.render.print_verify import print_verified
    from das.terminal import print_json, progress
    from exporters.verify import require_verified

    report = stages.verify(run, *o.merge_runtimes(runtime, onnx, trt), device=device, data=data, progress=progress())
    print_json(report) if json else print_verified(report)
    require_verified(report)
