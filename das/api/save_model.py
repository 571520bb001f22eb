"""``das.save``: a slim model as a folder of Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import Checks
from compressor.progress import QUIET, Progress
from das.api.load_model import open_run_at

if TYPE_CHECKING:
    from compressor.hub.hub_folder import SavedFolder
    from compressor.saved_run.run_folder import Run


def save(run: Run | str | Path | None = None, *, to: str | Path, progress: Progress = QUIET) -> SavedFolder:
    """Write a run's slim model as a folder of Hugging Face, and compare what transformers loads of it with the run's.

    Where the model has no adapters, the folder is one of the library's own; else it has a file with their code, and
    ``trust_remote_code=True`` or ``import das.hub`` is needed to load it (docs/save.md).

    Args:
        run: a run, its folder, or None for runs/latest.
        to: the folder, new or empty.
        progress: told about each stage.

    Raises:
        InputError: no run there, transformers has no class for its model, or the folder holds something.
        CheckFailed: transformers makes another model of the folder; it is not kept.
        EnvironmentProblem: the folder cannot be written.
    """
    from compressor.hub.hub_folder import check_folder, save_folder
    from compressor.hub.slim_tensors import find_format
    from das.model_card import write_card

    checks, folder = Checks(), Path(to)
    with checks:
        check_folder(folder)
    with checks:
        opened = open_run_at(run)
        with checks:
            find_format(opened.manifest.family, opened.manifest.task)
    checks.raise_found()
    return save_folder(opened, folder, lambda saved: write_card(opened, saved), progress)
