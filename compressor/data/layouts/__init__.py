"""The ways in which the data of each task lies on disk, and finding which one a folder has."""

from __future__ import annotations

from pathlib import Path

from compressor.data.layouts import arrow_tables as arrow
from compressor.data.layouts import columns, glue, karpathy, nlvr2_json, vqa_json
from compressor.data.layouts import snli_ve_jsonl as snli_ve
from compressor.data.types import Found, Layout
from compressor.errors import InputError, input_error
from compressor.progress import QUIET, Progress

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "vqa": (*arrow.VQA, vqa_json.LAYOUT, columns.VQA),
    "nlvr2": (arrow.NLVR2, nlvr2_json.LAYOUT, columns.NLVR2),
    "irtr": (arrow.FLICKR30K, arrow.COCO, karpathy.LAYOUT, columns.RETRIEVAL),
    "snli-ve": (arrow.SNLI_VE, snli_ve.LAYOUT, columns.SNLI_VE),
    "text-classification": (glue.LAYOUT, columns.TEXT_CLASSIFICATION),
}
SHOWN = 6  # names of files in a message


def read_data(root: Path, task: str, progress: Progress = QUIET) -> Found:
    """The data of a task in a folder, read in the first of the task's layouts that the folder has.

    Args:
        root: the folder.
        task: a key of ``LAYOUTS``.
        progress: told of the rows.

    Raises:
        InputError: the folder has none of the layouts, or a file of the layout cannot be used as a whole.
    """
    for layout in LAYOUTS[task]:
        if layout.recognises(root):
            return layout.read(root, progress)
    others = [other for other in LAYOUTS if other != task and _holds(root, other)]
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    held = f"data for {' or '.join(others)}" if others else f"{shown or 'nothing'}, and no data for {task}"
    expected = "; or ".join(f"{layout.name} ({layout.looks_for})" for layout in LAYOUTS[task])
    fix = f"--task {others[0]}, or give" if others else "give"
    raise input_error(f"{root} holds {held}", expected, f"{fix} the folder of the data: --data (see docs/data.md)")


def _holds(root: Path, task: str) -> bool:
    try:
        return any(layout.recognises(root) for layout in LAYOUTS[task])
    except InputError:
        return False
