"""What one of the processes that run the tests makes, and all of them use."""

import os
import shutil
from pathlib import Path

from filelock import FileLock

FOLDER: list[Path] = []  # of this run of the tests, one for all processes; the fixture in conftest.py puts it here


def use(base):
    """Keep what is made in pytest's own folder: ``base`` is that of this process, inside the one of all."""
    FOLDER[:] = [base.parent if "PYTEST_XDIST_WORKER" in os.environ else base]


def once(name, make):
    """The folder ``name``; the first process to ask for it lets ``make`` fill it, others wait until it is done."""
    folder = FOLDER[0] / f"shared-{name}"
    made = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one whose making failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def begun(name):
    """Return whether a folder whose name begins so was made, or is being made."""
    return any(FOLDER[0].glob(f"shared-{name}*"))
