"""``das profile``: the full model against the slim one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from das.commands import options as o


def profile(
    run: o.RunFolder = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help=f"{', '.join(o.NAMES)}, or all; may be repeated. Default: the first two, where they can run.",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="fp32, fp16, bf16, int8, or all; what is missing is exported. Default: fp32 and what was exported.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples in one call.")] = 1,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of every runtime. Default: PyTorch's choice.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long full and slim are timed in each runtime.")] = 20,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
    questions_per_image: Annotated[
        int | None,
        typer.Option(help="Also time N questions on one image: single graph against split export."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N,N",
            help="Time other settings, too: batch=1,8,32, text-length=10,40, image-size=, threads=. May be repeated.",
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Also time every layer, and estimate the gain of each removed one."),
    ] = False,
    claims: Annotated[
        str | None,
        typer.Option("--assert", metavar="CLAIMS", help="Fail unless these hold, e.g. speedup>=1.3,parity=pass."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="REPORT", help="Fail where this is worse than an earlier profile.json or report.json."),
    ] = None,
    details: o.Details = False,
    html: Annotated[bool, typer.Option("--html", help="The HTML report on stdout.", rich_help_panel=o.OUTPUT)] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on stdout.", rich_help_panel=o.OUTPUT)] = False,
    json: o.Json = False,
) -> None:
    """Measure MACs, parameters, files, latency, throughput, memory and energy of full and slim, in turns.

    Each model has a process of its own. What can be claimed with --assert: speedup (full over slim), p50_ms, p90_ms,
    p99_ms, throughput (of slim), macs, parameters, file, memory (slim over full), each the worst of all runtimes, or of
    one as in speedup:onnxruntime; drop (points), agreement (percent); and parity=pass.

    With --runtime all or --precision the last sentence is the fastest way to run the model here: in the best of each
    runtime, timed in turns, of those that cost no more than 0.3 points of the score, or no more than chance.

    Example: [bold]das profile --runtime all --precision all[/]

    Example: [bold]das profile --assert "speedup>=1.3,p99_ms<=40,drop<=1,parity=pass"[/]

    Next: [bold]das compare RUN RUN[/], [bold]das predict --image photo.jpg --question "..."[/]
    """
    from compressor.errors import Checks
    from das import api
    from das.render.print_profile import print_profile
    from das.terminal import progress
    from profiles.gates.gates import open_gates

    checks, names = Checks(), runtime or ()
    with checks:
        gates = open_gates(run, claims or "", baseline, runtimes=names, batch=batch, threads=threads, device=device)
    report = api.profile(
        run,
        runtimes=names,
        precisions=precision or (),
        batch=batch,
        threads=threads,
        seconds=seconds,
        device=device,
        questions_per_image=questions_per_image,
        sweeps=sweep or (),
        layers=layers,
        command=o.command_line(),
        progress=progress(),
        checks=checks,
    )
    changes = gates.compare(report)
    print_profile(gates.run, report, changes, details=details, html=html, markdown=markdown, json=json)
    gates.check(report, changes)
    for line in gates.describe_kept():
        progress().say(line)
