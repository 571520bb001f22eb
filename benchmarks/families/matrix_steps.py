"""The steps of the matrices of families: each takes the model in the current folder through a command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path

import das
from compressor.errors import DasError, shorten
from profiles.formatting import format_markdown_table

SECONDS = 0.2  # of timing: what is measured here is that it runs
Steps = Mapping[str, Callable[[], str]]
"""By the name of its column, what is done and returns what its cell says."""


def load(task: str | None = None) -> str:
    """The full checkpoint."""
    return f"{sum(parameter.numel() for parameter in das.load('model', task=task).parameters()) / 1e3:.0f} k parameters"


def compress(out: str = "run", **options: object) -> str:
    """Search, and what is asked for in the place of a layer."""
    run = das.compress("model", skip=1, data="data", out=out, strategy="influence", **options)
    report = json.loads((run.path / "report.json").read_text())
    return f"without {', '.join(report['skipped'])}"


def export(form: str, precision: str) -> str:
    """Export, execute where it can be, and compare."""
    parity = das.export("run", form, precision=precision).exports[-1].parity
    if parity.status != "passed":
        return f"built; {parity.status}: no GPU here"
    return "passed" if parity.max_abs_error is None else f"passed, {parity.max_abs_error:.0e}"


def profile() -> str:
    """Full against slim in ONNX Runtime."""
    report = das.profile(
        "run", runtimes=("onnxruntime",), precisions=("fp32",), seconds=SECONDS, threads=1, device="cpu"
    )
    return f"{1 - report.macs.slim / report.macs.full:.0%} fewer MACs"


def save(run: str = "run", to: str = "saved") -> str:
    """A folder of transformers, or of sentence-transformers."""
    shutil.rmtree(to, ignore_errors=True)
    return das.save(run, to=to).architecture


def reload(script: str, run: str = "run", saved: str = "saved", *others: str) -> str:
    """The saved folder in a process without das: how far its answers are from the run's, which ``script`` prints."""
    if not Path(saved).exists():
        return "nothing was saved"
    architecture = json.loads((Path(saved) / "config.json").read_text())["architectures"][0]
    command = [sys.executable, "-c", script, saved, run, architecture, *others]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return f"within {done.stdout.strip()}"


def run_cell(step: Callable[[], str]) -> str:
    """What a step says, or why it was refused or failed."""
    try:
        return step()
    except DasError as error:
        return f"refused: {error.problems[0].code}: {shorten([error.problems[0].found])}"
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {error}".replace("|", "/").replace("\n", " ")[:200]


def kept_row(home: Path, names: Mapping[str, object]) -> dict[str, str]:
    """The cells of a row by step, as they were measured; of what was not, that it was not."""
    kept = home / "cells.json"
    return json.loads(kept.read_text()) if kept.exists() else dict.fromkeys((*names, "Seconds"), "not run")


def run_row(home: Path, steps: Steps) -> None:
    """Measure and keep the cells of a row, whose model and data lie in ``home``."""
    started = time.monotonic()
    with chdir(home):
        cells = {name: run_cell(step) for name, step in steps.items()}
    cells["Seconds"] = f"{time.monotonic() - started:.0f}"
    (home / "cells.json").write_text(json.dumps(cells))
    print(home.name, cells, flush=True)


def draw_matrix(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """The table by family and task, what was refused or failed under it, and how many cells failed."""
    marks: dict[str, int] = {}
    table = []
    for (family, task), cells in rows.items():
        line = [family, task]
        for said in cells.values():
            if said.startswith(("refused", "FAILED")):
                number = marks.setdefault(said, len(marks) + 1)
                said = f"{said.split(':')[0]} ({number})"
            line.append(said)
        table.append(line)
    count = sum(said.startswith("FAILED") for cells in rows.values() for said in cells.values())
    notes = [f"- ({number}) {said}" for said, number in marks.items()]
    drawn = format_markdown_table(["Family", "Task", *next(iter(rows.values()))], table)
    return "\n".join([drawn, "", *notes, f"{count or 'No'} cell that was run failed."])
