"""``das profile``: the full model against the slim one."""

from __future__ import annotations

from typing import Annotated

import typer

from das.commands import options as o


def profile(
    run: o.RunFolder = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="torch, onnxruntime or compile; may be repeated. Default: the first two that can run."),
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
    claims: Annotated[
        str | None,
        typer.Option("--assert", metavar="CLAIMS", help="Fail unless these hold, e.g. speedup>=1.3,parity=pass."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on stdout.", rich_help_panel=o.OUTPUT)] = False,
    json: o.Json = False,
) -> None:
    """Measure MACs, parameters, files, latency, throughput and memory of full and slim, in turns.

    What can be claimed with --assert: speedup (full over slim), macs, parameters, file, memory (slim over full), each
    the worst of all runtimes, or of one as in speedup:onnxruntime; and parity=pass.

    Example: [bold]das profile --assert "speedup>=1.3,macs<=0.9,parity=pass"[/]

    Next: [bold]das predict --image photo.jpg --question "..."[/]
    """
    import das
    from compressor.runs import open_run
    from das.render_profile import print_profile
    from das.terminal import print_json, progress
    from profiles import assertions
    from profiles.markdown import to_markdown
    from profiles.profile import choose_runtimes, parity

    chosen = [entry.name for entry in choose_runtimes(runtime or (), device)]
    claimed, opened = assertions.parse(claims or "", chosen), open_run(run)
    report = das.profile(
        opened,
        runtimes=chosen,
        batch=batch,
        threads=threads,
        seconds=seconds,
        device=device,
        questions_per_image=questions_per_image,
        progress=progress(),
    )
    if json:
        print_json(report)
    elif markdown:
        typer.echo(to_markdown(report), nl=False)
    else:
        print_profile(report)
    assertions.check(claimed, assertions.measured(report, parity(opened)))
