"""``das verify``: what was exported, run and compared on this machine."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from compressor.errors import DasError
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
    from compressor.evaluation.reference import open_reference
    from compressor.run_folder import open_run
    from das.render.print_verify import print_verified
    from das.terminal import print_json, progress
    from exporters.export import EXPORTS
    from exporters.runtimes import find_runtimes
    from exporters.verify import require_verified, runtime_device
    from exporters.verify import verify as verify_exports
    from profiles.reports.save import save_report

    runtimes = find_runtimes(o.formats(runtime, onnx, trt) or o.FILE_NAMES, executes_files=True)
    formats = [chosen.format for chosen in runtimes]
    place, opened = runtime_device(device), open_run(run)
    slim, samples, reference = opened.load_slim(), opened.samples(), open_reference(opened, o.text(data))
    try:
        report = verify_exports(slim, samples, reference, opened.path / EXPORTS, formats, progress(), device=place)
    except BaseException:  # Ctrl-C, too: some records may be new, and the report must follow them
        with suppress(DasError):  # the failure itself matters more
            save_report(opened)
        raise
    save_report(opened)
    print_json(report) if json else print_verified(report)
    require_verified(report)
