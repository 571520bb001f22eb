"""``das profile``: the full model against the slim one."""

from __future__ import annotations

import shlex
import sys
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
            help=f"{', '.join(o.NAMES)}; may be repeated. Default: the first two, where they can run.",
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
        typer.Option(help="Time so many questions on one image, too: whole graph against vision tower once."),
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
        typer.Option("--layers", help="Time every layer, too: where the milliseconds go, and what each cut gains."),
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

    Example: [bold]das profile --assert "speedup>=1.3,p99_ms<=40,drop<=1,parity=pass"[/]

    Next: [bold]das compare RUN RUN[/], [bold]das predict --image photo.jpg --question "..."[/]
    """
    import torch

    import das
    from compressor.device import choose_device
    from compressor.errors import CheckFailed
    from compressor.run_folder import open_run
    from das.render.print_report import print_report
    from das.render.rich_tables import draw
    from das.terminal import console, print_json, progress, shown
    from profiles.comparison.profile_run import choose_runtimes, parity
    from profiles.gates import assertions
    from profiles.gates import baseline as baselines
    from profiles.machine.environment import environment
    from profiles.reports.build import build_report
    from profiles.reports.html import run_html
    from profiles.reports.markdown import to_markdown
    from profiles.timing.sweeps import parse_sweeps

    chosen = [entry.name for entry in choose_runtimes(runtime or (), device)]
    claimed, opened = assertions.parse(claims or "", chosen), open_run(run)
    before = None
    if baseline:
        place = environment(choose_device(device).type, threads or torch.get_num_threads())
        before = baselines.open_baseline(baseline, opened, batch=batch, runtimes=chosen, environment=place)
    report = das.profile(
        opened,
        runtimes=chosen,
        batch=batch,
        threads=threads,
        seconds=seconds,
        device=device,
        questions_per_image=questions_per_image,
        sweeps=parse_sweeps(sweep or (), opened),
        layers=layers,
        command=shlex.join(["das", *sys.argv[1:]]),
        progress=progress(),
    )
    changes = baselines.compare(before, baselines.profiled(opened, report)) if before else None
    if json:
        print_json(baselines.ComparedProfile(**report.model_dump(), baseline=changes) if changes else report)
    elif markdown:
        typer.echo(to_markdown(report, changes), nl=False)
    elif html:
        typer.echo(run_html(opened, build_report(opened)), nl=False)
    else:
        print_report(build_report(opened), shown(opened.path), details)
        if changes:
            console.print(draw(baselines.changes_table(changes)))
            for line in baselines.notes(changes):
                console.print(line, style="dim")
    found = [*assertions.measured(report, parity(opened)), *assertions.scored(opened.manifest)]
    failed = [*assertions.failures(claimed, found), *(baselines.regressions(changes) if changes else ())]
    if failed:
        raise CheckFailed(*failed)
