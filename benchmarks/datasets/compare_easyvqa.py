"""Real data: one search on easy-VQA, and the runs with k = 2, 4, 6 and 8 skipped layers beside the full model, k = 0.

easy-VQA (MIT licence) is at github.com/vzhou842/easy-VQA, folder ``easy_vqa/data``. Usage:

    python -m benchmarks.datasets.compare_easyvqa FOLDER_OF_EASYVQA --work work-easyvqa

The full model is that of ``benchmarks.datasets.easyvqa``, trained once and kept in the work folder. Every step is a
command that users type; the tables are those of ``das compare --markdown``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.datasets.easyvqa import RECOVER_EPOCHS, compressed, prepare_easyvqa
from benchmarks.results import write_section
from compressor.saved_run.run_folder import open_run
from profiles.analysis.answer_flips import Flips, flips_of, flips_sentence, flips_table
from profiles.formatting import format_markdown_table

SEARCHED, OTHERS = 8, (2, 4, 6)
FOLDER = "compare"


def das(work: Path, *arguments: str) -> str:
    """What a command prints, run in the work folder."""
    typed = [sys.executable, "-m", "das", *arguments]
    return subprocess.run(typed, cwd=work, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="easy-VQA's data folder, with train/, test/ and answers.txt")
    parser.add_argument("--work", type=Path, default=Path("work-easyvqa"), help="folder for tables and checkpoint")
    parser.add_argument("--steps", type=int, default=10_000, help="training steps of the full model")
    parser.add_argument("--seconds", type=float, default=20, help="that full and slim are timed in each runtime")
    arguments = parser.parse_args()
    work = arguments.work
    prepare_easyvqa(arguments.source, work, arguments.steps)
    shutil.rmtree(work / FOLDER, ignore_errors=True)
    runs = {k: f"{FOLDER}/k{k}" for k in sorted((*OTHERS, SEARCHED))}
    started = time.monotonic()
    compressed(work, "meter.ckpt", "--task", "vqa", "--skip", str(SEARCHED), "--out", runs[SEARCHED])
    for k in OTHERS:
        compressed(work, "--from", runs[SEARCHED], "--skip", str(k), "--out", runs[k])
    compressing = time.monotonic() - started
    for run in runs.values():
        das(work, "profile", run, "--seconds", f"{arguments.seconds:g}")
    tables = das(work, "compare", *runs.values(), "--markdown").partition("\n")[2]
    changed = flips_of(open_run(work / runs[SEARCHED]))
    assert isinstance(changed, Flips)
    flips = flips_table(changed)
    body = (
        f"One search for {SEARCHED} layers, the others with `das compress --from k{SEARCHED} --skip k`; "
        f"{RECOVER_EPOCHS:g} epoch of recovery each, all in {compressing / 60:.0f} min; seed 0. Full and slim were "
        f"timed in turns for {arguments.seconds:g} s in each runtime.\n{tables}\n"
        f"### {flips.title}, k = {SEARCHED}\n\n{flips_sentence(changed)}\n\n"
        f"{format_markdown_table(flips.header, flips.rows)}"
    )
    write_section("compare-easyvqa", "Real data: easy-VQA without 0 to 8 layers", body)


if __name__ == "__main__":
    main()
