"""``das export``: the slim model as files that runtimes execute."""

from __future__ import annotations

from typing import Annotated

import typer

from das.commands import options as o


def export(
    context: typer.Context,
    run: o.RunFolder = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"Runtimes: {', '.join(o.FILE_NAMES)}; or best, what runs fastest here. Default: best; "
            f"with other options {o.FILE_NAMES[0]}.",
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="The same as --to onnxruntime.")] = False,
    trt: Annotated[bool, typer.Option("--trt", help="The same as --to tensorrt; the ONNX file is made, too.")] = False,
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8.")] = "fp32",
    split: Annotated[bool, typer.Option("--split", help="Also export the vision encoder, or each tower, apart.")] = (
        False
    ),
    batch: Annotated[
        str,
        typer.Option(
            help="Batches that an engine takes, MIN:OPT:MAX; one number fixes it in the graph. With --to best one "
            "number, that is to be fast: any can be run."
        ),
    ] = "1:8:32",
    text_length: Annotated[int | None, typer.Option(help="Static text length in tokens. Default: dynamic.")] = None,
    attention: Annotated[
        str | None,
        typer.Option(help="composed (the default), operator (opset 23 on) or fused (ONNX Runtime only)."),
    ] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX operators. Default: the exporter's choice.")] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Memory a TensorRT layer may use while it runs, e.g. 4GB.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda, to run it on. Default: cuda where ONNX Runtime works there.")
    ] = None,
    data: o.Data = None,
    json: o.Json = False,
) -> None:
    """Export the slim model, run what was exported, and compare it with PyTorch before calling it done.

    The comparison is a certificate on 200 samples of the run's data. Without options every runtime and precision that
    runs here is tried, all in turns, and the fastest is kept that costs no more than 0.3 points of the score, or no
    more than chance. With a runtime, its exports are timed against PyTorch, and the fastest is recommended.

    Example: [bold]das export[/], [bold]das export --to best --batch 8[/]

    Example: [bold]das export runs/latest --onnx --precision int8[/]

    Next: [bold]das profile[/]
    """
    from compressor.errors import Checks
    from das import api
    from das.render.print_export import print_export
    from das.terminal import print_json, progress

    about_graphs = o.read_typed(context, {"run", "device", "data", "json"})
    formats, checks = o.merge_runtimes(to, onnx, trt) or ([api.UNNAMED] if about_graphs else []), Checks()
    batches: int | tuple[int, int, int] = api.ENGINE_BATCHES
    space = None
    with checks:
        batches = o.read_batch_sizes(batch)
    with checks:
        space = o.read_byte_size("--workspace", workspace)
    report = api.export(
        run,
        *formats,
        precision=precision,
        split=split,
        batch=batches,
        text_length=text_length,
        attention=attention,
        opset=opset,
        workspace=space,
        device=device,
        data=data,
        recommend=True,
        progress=progress(),
        checks=checks,
    )
    print_json(report) if json else print_export(report)
