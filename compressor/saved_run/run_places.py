"""Where runs lie: their names, the unfinished ones, and runs/latest."""

from __future__ import annotations

import os
import re
from pathlib import Path

from compressor.errors import input_error
from compressor.files import cannot_write, link_to
from compressor.saved_run.manifest import MANIFEST
from compressor.settings import Settings

ROOT = Path("runs")
LATEST = "latest"
PARTIAL = ".partial"  # added to the name of a run that is not finished


def run_name(settings: Settings, task: str | None) -> str:
    """Return the name of a run's folder, made of checkpoint, task and what is skipped."""
    budget = settings.budget
    goal = f"skip{settings.skip}" if budget is None else budget.kind + budget.text(budget.limit)
    suffix = "by-hand" if settings.layers else goal
    merged = "" if settings.merge_tokens is None else f"merge{settings.merge_tokens}"
    return "-".join(part for part in (Path(settings.checkpoint).stem, task, suffix, merged) if part)


def destination(settings: Settings, task: str | None, resume: bool = False) -> Path:
    """Return where the run will lie: ``--out``, or ``runs/`` and its name, with a number where that is taken.

    Raises:
        InputError: it exists already, or there is nothing to resume.
        EnvironmentProblem: it cannot be written.
    """
    stem = run_name(settings, task)
    return interrupted_folder(settings.out, stem) if resume else new_folder(settings.out, stem)


def new_folder(out: str | None, stem: str) -> Path:
    """Return the folder of a new run: ``out``, or the first free ``runs/<stem>[-n]``; none is made yet.

    Raises:
        InputError: ``out`` exists already.
        EnvironmentProblem: it cannot be made.
    """
    folder, number = Path(out) if out else ROOT / stem, 2
    while not out and (folder.exists() or partial_of(folder).exists()):
        folder, number = ROOT / f"{stem}-{number}", number + 1
    if folder.exists():
        raise input_error(
            "folder-exists", f"{folder} exists already", "a new folder", "give another --out, or remove it"
        )
    if partial_of(folder).exists():
        found = f"{partial_of(folder)} holds the state of an interrupted run"
        raise input_error(
            "run-interrupted-there", found, "a new folder", "--resume to go on with it, another --out, or remove it"
        )
    probe = next(path for path in folder.absolute().parents if path.exists()) / f".das-{os.getpid()}"
    try:
        probe.write_text("writable")
        probe.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from None
    return folder


def interrupted_folder(out: str | None, stem: str, document: str = MANIFEST) -> Path:
    """Return the newest run of this name that was interrupted; where none was, the newest one that is finished.

    A finished one holds the ``document``.

    Raises:
        InputError: there is none.
    """
    folder = Path(out) if out else ROOT / stem
    runs = [folder] if out else runs_named(stem)
    interrupted = [run for run in runs if partial_of(run).exists()]
    finished = [run for run in runs if (run / document).exists()]
    if interrupted:
        return max(interrupted, key=lambda run: partial_of(run).stat().st_mtime)
    if finished:
        return max(finished, key=lambda run: run.stat().st_mtime)
    raise input_error(
        "nothing-to-resume", f"no interrupted run {partial_of(folder)}", "a run to resume", "start without --resume"
    )


def interrupted_runs(stem: str) -> list[Path]:
    """Return the unfinished folders, by name, of runs whose name is ``stem``, with or without a number."""
    return sorted(partial_of(run) for run in runs_named(stem) if partial_of(run).exists())


def runs_named(stem: str) -> list[Path]:
    """Return the folders in ``runs``, of finished runs or not, whose name is ``stem``, with or without a number."""
    numbered = re.compile(re.escape(stem) + r"(-\d+)?")
    beside = {path.with_name(path.name.removesuffix(PARTIAL)) for path in ROOT.glob("*")}
    return [path for path in beside if numbered.fullmatch(path.name)]


def partial_of(folder: Path) -> Path:
    """Return the folder of the unfinished run that will lie in ``folder``."""
    return folder.with_name(folder.name + PARTIAL)


def find_runs() -> list[Path]:
    """Return the finished runs below ``runs``, by name, those of several seeds, too; ``latest`` is one of them."""
    return sorted(found.parent for depth in ("*", "*/*") for found in ROOT.glob(f"{depth}/{MANIFEST}"))


def point_latest_at(folder: Path) -> str | None:
    """Make ``runs/latest`` a link to ``folder``, wherever that is, replacing an older link in one step.

    Returns:
        Why that cannot be done, as a clause; None where it is. A run is complete without.
    """
    link = ROOT / LATEST
    if link.is_dir() and not link.is_symlink():
        return f"{link} is a folder of its own"
    try:
        ROOT.mkdir(exist_ok=True)
        link_to(link, folder)
    except OSError as error:
        return f"{link} cannot be written ({error.strerror})"
    return None
