"""The best deployment of slim on this CPU, beside what das made before, and beside what peers make of the full model.

    python -m benchmarks.runtimes.best_deployment --work work-deployment --old ../das-f978fae
    python -m benchmarks.runtimes.best_deployment --work work-deployment --models minilm

Models of real size with random weights. Of each: ``das export`` as a user types it, with its seconds and peak memory;
slim and full in int8 in every runtime of das; the int8 file that an earlier checkout makes of the same checkpoint
(``--old``; ``git worktree add ../das-f978fae f978fae``); and the full model as peers deploy it. All are timed in turns,
in groups that share the first, quiet and with one core taken by a busy loop. What was made or measured is kept in the
work folder: a run that was stopped goes on where it was, model by model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import LogProgress, write_section
from benchmarks.runtimes.deployed_models import MODELS, TINY, Deployed
from benchmarks.runtimes.peer_files import EXPORTERS, openvino_nncf, transformers_onnx
from compressor.errors import DasError, first_line
from compressor.files import write_json
from compressor.models.steps import StepModel
from compressor.saved_run.run_folder import Run, open_run
from exporters.export import export
from exporters.folder import count_bytes, exports_of
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime, obstacles
from exporters.runtimes.runtime import ModelSource
from profiles.deployment.ways import why_not
from profiles.formatting import format_markdown_table
from profiles.timing.paired import time_models
from profiles.timing.worker import FULL, SLIM, Setting, WorkerRequest

FASTEST, EARLIER, EAGER = "slim, das export", "slim int8, earlier das", "full, PyTorch eager"
WAYS = (  # of das, beside the best
    (SLIM, "onnxruntime", "int8"),
    (SLIM, "openvino", "int8"),
    (FULL, "onnxruntime", "int8"),
    (FULL, "openvino", "int8"),
    (FULL, "torch", "bf16"),
    (FULL, "compile", "bf16"),
)
AT_ONCE = 7  # models in memory
LOADS = ("quiet", "one core taken")


@dataclass(frozen=True)
class Subject:
    """What is timed: full or slim in a runtime and a precision; why it is not where there is a reason."""

    which: str
    runtime: str
    precision: str = "fp32"
    file: str = ""
    bytes: int | None = None
    why: str = ""


def run_das(checkout: Path, folder: Path, *typed: str) -> dict[str, Any]:
    """Run a command of the das in a checkout; return its JSON, with seconds, CPU seconds and peak memory in GB."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "das", *typed, "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"das {' '.join(typed)} failed in {checkout.name}")
    took = {"seconds_here": time.monotonic() - started, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    return {**json.loads(output), **took, "peak_gb": usage.ru_maxrss / 1e6}


def once(path: Path, make: Callable[[], Any]) -> Any:
    """Return what an earlier run of this benchmark left at ``path``; make it where none did."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text())


def make_run(model: Deployed, work: Path, checkout: Path, name: str) -> Path:
    """The run that a checkout of das makes of the model, without training."""
    if not (work / model.checkpoint).exists():
        work.mkdir(parents=True, exist_ok=True)
        model.prepare(work)
    if not (work / name).exists():
        length = max((tokens or 0 for _, tokens in model.shapes), default=0)
        options = ("--layers", model.layers, "--recover", "none", "--data", "data", "--out", name)
        texts = ("--text-length", str(length)) if length else ()
        run_das(checkout, work, "compress", model.checkpoint, "--task", model.task, *options, *texts)
    return work / name


def list_subjects(model: Deployed, work: Path, old: Path | None) -> dict[str, Subject]:
    """Everything that is timed, by name, the export of ``das export`` first; files are made where they are missing."""
    here = Path(__file__).parents[2]
    run = open_run(make_run(model, work, here, "new"))
    best = once(work / "export.json", lambda: run_das(here, work, "export", "new"))
    kept, exports = best["best"]["tried"][0], exports_of(run)
    file = exports.path / kept["file"]
    subjects = {
        FASTEST: Subject(SLIM, kept["runtime"], kept["precision"], str(file), count_bytes(file)),
        EAGER: Subject(FULL, "torch"),
        EARLIER: Subject(SLIM, "onnxruntime", "int8", why="no --old checkout was given"),
    }
    if old:
        made = make_run(model, work, old, "old")
        once(work / "old-export.json", lambda: run_das(old, work, "export", "old", "--onnx", "--precision", "int8"))
        file = made / "exports" / "model.int8.onnx"
        subjects[EARLIER] = Subject(SLIM, "onnxruntime", "int8", str(file), count_bytes(file))
    subjects |= dict(_own(run))
    subjects |= dict(_peers(model, run, work))
    return subjects


def _own(run: Run) -> Iterator[tuple[str, Subject]]:
    """Full and slim in the runtimes and precisions of das."""
    blocked, exports = obstacles("cpu"), exports_of(run)
    folders = {SLIM: (exports, run.load_slim), FULL: (exports.full(), run.load_full)}
    for which, runtime, precision in WAYS:
        name, (folder, load) = f"{which}, {runtime} {precision}", folders[which]
        of, rounded = find_runtime(runtime), PRECISIONS[precision]
        why = blocked[runtime].found if runtime in blocked else why_not(of, rounded, "cpu")
        if why or not of.suffix:
            yield name, Subject(which, runtime, precision, why=why)
            continue
        path = folder.path_for(of, rounded)
        try:
            if not path.exists():
                export(load(), run.samples(), folder.path, [runtime], precision=precision, progress=LogProgress())
            yield name, Subject(which, runtime, precision, str(path), count_bytes(path))
        except DasError as error:
            yield name, Subject(which, runtime, precision, why=error.problems[0].found)


def _peers(model: Deployed, run: Run, work: Path) -> Iterator[tuple[str, Subject]]:
    """The full model as others deploy it: OpenVINO and NNCF from a plain ONNX file, transformers' own exporters."""
    folder = work / "peers"
    folder.mkdir(exist_ok=True)
    samples = run.samples()
    few = {name: rows[:2] for name, rows in samples.items()}
    plain = folder / "plain.onnx"

    def peer(name: str, runtime: str, path: Path, write: Callable[[], None]) -> tuple[str, Subject]:
        try:
            if not path.exists():
                write()
            with find_runtime(runtime).open(ModelSource(run.load_full, path), "cpu"):
                pass  # not every file that is written can be run
        except DasError as error:
            return name, Subject(FULL, runtime, "int8", why=error.problems[0].found.replace(f"{folder}/", ""))
        except Exception as error:  # peers' exceptions share no base class; what they refuse is a result
            return name, Subject(FULL, runtime, "int8", why=first_line(error))
        return name, Subject(FULL, runtime, "int8", str(path), count_bytes(path))

    def write_plain() -> None:
        if model.exported:
            transformers_onnx(_of_transformers(work / model.checkpoint), samples, plain)
        else:
            full = run.load_full()
            assert isinstance(full, StepModel)
            export_onnx(full, plain, few)

    def write_openvino() -> None:
        if not plain.exists():
            write_plain()
        openvino_nncf(plain, samples, folder / "nncf.xml")

    yield peer("full, OpenVINO + NNCF int8", "openvino", folder / "nncf.xml", write_openvino)
    for name, (runtime, file, write) in EXPORTERS.items():
        if not model.exported:
            yield f"full, {name}", Subject(FULL, runtime, "int8", why="transformers exports no such model")
            continue
        path = folder / file
        yield peer(
            f"full, {name}",
            runtime,
            path,
            lambda path=path, write=write: write(_of_transformers(work / model.checkpoint), samples, path),
        )


def _of_transformers(checkpoint: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()


def time_all(
    run: Path, subjects: Mapping[str, Subject], shape: tuple[int, int | None], seconds: float
) -> dict[str, Mapping[str, Any]]:
    """Time what can be, in groups that all have the first in them; milliseconds, and how many times slower it is."""
    able = {name: subject for name, subject in subjects.items() if not subject.why}
    best = able[FASTEST].file
    first, *others = (name for name, subject in able.items() if name == FASTEST or subject.file != best or not best)
    setting, found = Setting(batch=shape[0], text_length=shape[1]), dict[str, Mapping[str, Any]]()
    for start in range(0, len(others), AT_ONCE - 1):
        group = others[start : start + AT_ONCE - 1]
        requests = {name: _request(run, able[name], setting) for name in (first, *group)}
        timed = time_models(requests, seconds, LogProgress())
        for name in requests:
            speedup = timed.speedup(first, over=name) if name != first else None
            found.setdefault(name, {"p50_ms": timed.times[name].p50_ms, "spread": timed.times[name].spread})
            found[name] = {**found[name], "slower": speedup.model_dump() if speedup else None}
    return found


def _request(run: Path, subject: Subject, setting: Setting) -> WorkerRequest:
    return WorkerRequest(
        run=run,
        which=subject.which,
        runtime=subject.runtime,
        file=Path(subject.file) if subject.file else None,
        threads=torch.get_num_threads(),
        device="cpu",
        setting=setting,
        precision=subject.precision,
    )


@contextmanager
def load_of(name: str) -> Iterator[None]:
    """Keep one core busy, where that is the load."""
    if name == LOADS[0]:
        yield
        return
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(loop.pid, {min(os.sched_getaffinity(0))})
        yield
    finally:
        loop.kill()
        loop.wait()


def measure_model(model: Deployed, work: Path, old: Path | None, seconds: float, loads: Sequence[str]) -> str:
    """The part of the section about one model; what is measured already is read."""
    subjects = list_subjects(model, work, old)
    costs = open_run(work / "new").manifest.costs
    tables = []
    for shape in model.shapes:
        results = {}
        for load in loads:
            kept = work / f"times-{shape[0]}x{shape[1] or 'all'}-{load.split()[0]}.json"
            with load_of(load):
                results[load] = once(kept, lambda shape=shape: time_all(work / "new", subjects, shape, seconds))
        tables.append(tabulate(shape, subjects, results, costs.parameters.full, costs.parameters.slim))
    made = json.loads((work / "export.json").read_text())
    share = costs.macs.full / costs.macs.slim
    missing = [f"- {subject}: {entry.why}" for subject, entry in subjects.items() if entry.why]
    return "\n\n".join(
        [
            f"### {model.title}",
            f"MACs of full over slim: {share:.2f}. `das export`: {made['seconds_here']:.0f} s, peak of its own process "
            f"{made['peak_gb']:.1f} GB; kept {made['best']['tried'][0]['file']}.",
            *tables,
            *(["Not timed:\n\n" + "\n".join(missing)] if missing else []),
        ]
    )


def tabulate(
    shape: tuple[int, int | None],
    subjects: Mapping[str, Subject],
    results: Mapping[str, Mapping[str, Mapping[str, Any]]],
    full: int,
    slim: int,
) -> str:
    """Milliseconds of each, how many times slower than what das export kept, and bytes a parameter."""
    rows = []
    for name, subject in subjects.items():
        if not all(name in found for found in results.values()):
            continue
        cells = []
        for found in results.values():
            slower = found[name]["slower"]
            cells += [f"{found[name]['p50_ms']:.1f} ± {found[name]['spread']:.0%}"]
            cells += [f"{slower['ratio']:.2f}x ({slower['low']:.2f}-{slower['high']:.2f})" if slower else "1"]
        count = full if subject.which == FULL else slim
        rows.append((name, *cells, f"{subject.bytes / count:.2f}" if subject.bytes else ""))
    header = (
        "",
        *(cell for load in results for cell in (f"{load}, p50 ms", "as slow as the first")),
        "bytes a parameter",
    )
    title = f"Batch {shape[0]}, {f'{shape[1]} tokens' if shape[1] else 'texts of the run'}:"
    return f"{title}\n\n{format_markdown_table(header, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-deployment"), help="folder for models, files and times")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--old", type=Path, help="a checkout of an earlier das, whose int8 file is timed, too")
    parser.add_argument("--seconds", type=float, default=60, help="that each group of models is timed")
    parser.add_argument("--busy", nargs="*", choices=MODELS, default=list(MODELS), help="timed beside a busy loop, too")
    parser.add_argument("--tiny", action="store_true", help="a model of no size in place of all: does the script run?")
    arguments = parser.parse_args()
    models = {"tiny": TINY} if arguments.tiny else {name: MODELS[name] for name in arguments.models}
    old = arguments.old.resolve() if arguments.old else None
    work = arguments.work.resolve()
    parts = []
    for name, model in models.items():
        loads = LOADS if name in arguments.busy else LOADS[:1]
        parts.append(measure_model(model, work / name, old, arguments.seconds, loads))
    body = (
        f"Random weights, {torch.get_num_threads()} threads; all in turns, in groups of {AT_ONCE} that share "
        "the first row. *As slow as the first* has the 95 % interval over process pairs; ± is the standard "
        "deviation of single calls. *Earlier das* is the int8 file of the checkout that --old names. Peers have the "
        "full model. Seconds of an export are of one run, whatever else the machine did then. Scores of int8 files "
        "on whole test sets: `python -m benchmarks.runtimes.precisions`.\n\n" + "\n\n".join(parts)
    )
    if arguments.tiny:
        print(body)
    else:
        write_section("best-deployment", "The best deployment of slim on this CPU", body)


if __name__ == "__main__":
    main()
