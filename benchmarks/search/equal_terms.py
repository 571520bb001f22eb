"""The search that the paper published beside das's, on equal terms.

    python -m benchmarks.search.equal_terms scenes
    python -m benchmarks.search.equal_terms scenes-global
    python -m benchmarks.search.equal_terms easyvqa --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.equal_terms easyvqa-global --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.equal_terms sst2 --source FOLDER_OF_SST2
    python -m benchmarks.search.equal_terms

``published`` is the public code's loop to the letter (``benchmarks.search.published``), ``das`` what das makes of it:
both train a supernet for the same number of steps, and see the same held-out samples as ``auto``. Each choice is
rated by its regret among all subsets on these samples, and by its score after the same recovery, on samples that no
search has seen.

What is finished stays in the work folder and is not done again: this may be stopped at any time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.results import LogProgress, write_section
from benchmarks.search.judge import RECOVERY_RATE, RECOVERY_SAMPLES
from benchmarks.search.models import SETTINGS, WORK, sentences
from benchmarks.search.published import PUBLISHED
from benchmarks.search.strategies import ROWS, Row, run
from benchmarks.search.strategies_report import NAMES, of, spread, table
from benchmarks.search.units import Unit, do_units, in_processes
from compressor.search.strategies import DEFAULT, TRANSFER
from compressor.settings import Settings
from profiles.comparison.seeds import spread_of
from profiles.formatting import format_bullets

STRATEGIES = (DEFAULT, TRANSFER, PUBLISHED, "random")
SEEDS = (0, 1, 2)


def of_one_model(work: Path, source: Path, seed: int) -> Settings:
    """SST-2's first model for all seeds, and one epoch of search: an hour less of the machine."""
    return sentences(work, source, 0).model_copy(update={"seed": seed, "search_epochs": 1.0})


COMPARED = {
    "scenes": replace(SETTINGS["scenes"], sizes=(8,)),
    "scenes-global": replace(SETTINGS["scenes"], name="generated scenes, METER Global", sizes=(4,), scope="global"),
    "easyvqa": SETTINGS["easyvqa"],
    "easyvqa-global": replace(SETTINGS["easyvqa"], name="easy-VQA, METER Global", sizes=(4,), scope="global"),
    "sst2": replace(SETTINGS["sst2"], settings=of_one_model),
}


def units_of(data: str, seeds: Sequence[int], work: Path, source: Path) -> list[Unit]:
    """Return a unit for each number of layers and seed."""
    setting = COMPARED[data]

    def compare(skip: int, seed: int, path: Path) -> None:
        rows = run(setting, skip, work, source, seed, LogProgress(), STRATEGIES)
        path.write_bytes(ROWS.dump_json(rows, indent=1))

    home = work / "equal-terms"
    return [
        Unit(home / f"{data}-{skip}-{seed}.json", partial(compare, skip, seed))
        for skip in setting.sizes
        for seed in seeds
    ]


def measure_share(number: int, processes: int, data: str, seeds: Sequence[int], work: Path, source: Path) -> None:
    """Do one process's share of the seeds of a data set."""
    do_units(units_of(data, seeds, work, source)[number::processes], LogProgress())


def differences(rows: Sequence[Row]) -> list[str]:
    """Say how trained scores differ from those of auto's choices, seed by seed."""
    said = []
    for other in STRATEGIES[1:]:
        pairs = zip(of(rows, DEFAULT), of(rows, other), strict=True)
        found = spread_of([100 * (ours.trained - theirs.trained) for ours, theirs in pairs])
        sentence = f"{DEFAULT} less {NAMES[other]}, trained: {found.mean:+.2f} points"
        if found.low is not None and found.high is not None:
            chance = ", no more than seeds alone may do" if found.low <= 0 <= found.high else ""
            sentence += (
                f" (95 % interval over {len(found.values)} seeds: {found.low:+.2f} to {found.high:+.2f}){chance}"
            )
        said.append(sentence)
    return said


def report(work: Path) -> None:
    """Write the tables of whatever is finished."""
    parts, files = [], 0
    for data, setting in COMPARED.items():
        for skip in setting.sizes:
            found = sorted((work / "equal-terms").glob(f"{data}-{skip}-*.json"))
            files += len(found)
            rows = [row for path in found for row in ROWS.validate_json(path.read_bytes())]
            if rows:
                ours = of(rows, DEFAULT)
                seeds = ", ".join(str(row.seed) for row in ours)
                parts += [
                    f"### {setting.name}, k = {skip}",
                    f"Full model {spread(ours, lambda row: row.full)} % on the test samples; seeds {seeds}.",
                    table(rows, STRATEGIES),
                    format_bullets(differences(rows)),
                ]
    planned = len(SEEDS) * sum(len(setting.sizes) for setting in COMPARED.values())
    parts += [f"{planned - files} of {planned} runs are missing."] if files < planned else []
    write_section(
        "equal-terms", "The published search beside ours, on equal terms", "\n\n".join([introduction(), *parts])
    )


def introduction() -> str:
    """Say what the figures are."""
    steps = "; ".join(f"{one.steps} steps of {one.batch_size} for {one.name}" for one in COMPARED.values())
    return (
        f"Strategy das and the public code's loop train a supernet for the same number of steps (3 epochs, one for "
        f"SST-2) and score subsets on the same held-out samples, those of auto and random. The public code's loop "
        f"rewards all its updates on one batch of these, moves its gates every 10 steps after the first third, and has "
        f"the model's dropout on; das takes another batch for each update and moves the gates more often on little "
        f"data. "
        f"Both draw 3 subsets for an update and skip the k layers of the highest gates. Regret and rank: the held-out "
        f"score of a choice, with adapters fitted in closed form, against that of all subsets. Trained: the score on "
        f"samples that no search has seen, after the same recovery for all ({steps}, at {RECOVERY_RATE:g} on at most "
        f"{RECOVERY_SAMPLES:,} samples); mean ± standard deviation over seeds. A seed draws all samples and every "
        f"search anew; the model is the same. Global: layers of the language encoder may go, too."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=COMPARED, nargs="?", help="none writes the report on what is there")
    parser.add_argument("--source", type=Path, default=Path(), help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--processes", type=int, default=2, help="of a thread each")
    given = parser.parse_args()
    if given.data is None:
        report(given.work)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    COMPARED[given.data].settings(given.work, given.source, 0)  # once, before the processes begin
    in_processes(measure_share, given.processes, given.data, given.seeds, given.work, given.source)


if __name__ == "__main__":
    main()
