"""``das.trim_vocabulary``: a model with fewer tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import Checks
from compressor.progress import QUIET, Progress
from das.api.load_model import open_run_at

if TYPE_CHECKING:
    from compressor.saved_run.run_folder import Run
    from compressor.vocabulary.trim_folder import TrimmedVocabulary


def trim_vocabulary(
    source: Run | str | Path | None = None,
    *,
    texts: Sequence[str | Path],
    to: str | Path,
    progress: Progress = QUIET,
) -> TrimmedVocabulary:
    """Write a model with the tokens that texts can need and no others, as a folder of Hugging Face.

    Every text read is cut into the same tokens as before, which are numbered anew, and the model's output is the same:
    both are compared before the folder counts (docs/vocabulary.md).

    Args:
        source: a run, its folder, or a checkpoint, a folder of Hugging Face; None for runs/latest.
        texts: files of a text a line, tables, or folders of them.
        to: the folder, new or empty.
        progress: told about each stage.

    Raises:
        InputError: no run or checkpoint there, its model reads images, no texts, or the folder holds something.
        CheckFailed: with the smaller vocabulary a text gets other tokens, or the model answers otherwise; nothing is
            kept.
        EnvironmentProblem: the folder cannot be written.
    """
    from tempfile import TemporaryDirectory

    from compressor.hub.hub_folder import check_folder
    from compressor.saved_run.run_folder import Run, is_run
    from compressor.vocabulary.read_texts import read_texts
    from compressor.vocabulary.trim_folder import trim_folder
    from compressor.vocabulary.vocabulary_source import open_checkpoint, save_source
    from das.model_card import write_card, write_trimmed_card

    checks, folder, opened, read = Checks(), Path(to), None, list[str]()
    with checks:
        check_folder(folder)
    with checks:
        read = read_texts([Path(path) for path in texts], progress)
    if source is not None and not isinstance(source, Run) and not is_run(source):
        with checks:
            opened = open_checkpoint(Path(source))
        checks.raise_found()
        assert opened
        return trim_folder(opened, read, folder, progress=progress)
    with checks:
        run = open_run_at(source)
    checks.raise_found()
    with TemporaryDirectory() as place:
        saved, opened = save_source(run, Path(place) / "saved", lambda saved: write_card(run, saved), progress)
        return trim_folder(
            opened, read, folder, lambda trimmed: write_trimmed_card(run, saved, trimmed), progress=progress
        )
