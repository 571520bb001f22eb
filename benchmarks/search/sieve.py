"""On how few samples may subsets be sifted, and by what: the reasons behind the default strategy's first stages.

    python -m benchmarks.search.sieve --source FOLDER_OF_EASYVQA

Scores all subsets of 2, 4, 6 and 8 of the 12 fusion layers of the METER of ``benchmarks.search.models easyvqa`` on
1,024 held-out samples, sample by sample. Then draws n of the samples again and again, keeps the best 16 subsets, half
of them, or a quarter, by what those samples say, and reports how far the best of these lies below the best of all.
"""

from __future__ import annotations

import argparse
import math
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from benchmarks.results import LogProgress, write_section
from benchmarks.search.measures import MEASURES, SCORE, measure_subsets
from benchmarks.search.models import SETTINGS, WORK
from compressor.models.supernet import Supernet
from compressor.progress import QUIET
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import HELD_OUT_SAMPLES, draw_scored_samples, encode_calibration
from compressor.training.activation_cache import Encoded
from profiles.formatting import format_markdown_table

SIZES, DRAWS = (2, 4, 6, 8), 20
SAMPLES, KEPT = (16, 32, 64, 128, 256), 16
SHARES = ((4, 2), (8, 2), (4, 4), (8, 4), (16, 4))  # samples, and how many subsets there are for one that is kept


def measure_all(work: Path, source: Path) -> dict[frozenset[str], np.ndarray]:
    """For every subset its divergence, loss and badness (1 - score) on each sample, (3, samples)."""
    job = SETTINGS["easyvqa"].open(work, source)
    supernet = Supernet(job.model, job.candidates)
    fit_adapters(supernet, encode_calibration(job, supernet, QUIET))
    held_out = Encoded(draw_scored_samples(job), with_teacher(supernet), job.device)
    subsets = [frozenset(chosen) for size in SIZES for chosen in combinations(job.candidates, size)]
    found = measure_subsets(supernet, held_out, subsets, LogProgress())
    score = MEASURES.index(SCORE)
    found[:, score] = 1 - found[:, score]
    return dict(zip(subsets, found, strict=True))


def regret_of_best_kept(values: np.ndarray, measure: int, samples: int, kept: int = KEPT) -> float:
    """Points that the best of the subsets kept by ``measure`` on some samples lies below the best of all; a mean.

    Args:
        values: (subsets, 3, samples) of one size.
        measure: which of the three sifts.
        samples: how many samples it is taken on.
        kept: how many subsets.
    """
    scores, regrets = 1 - values[:, 2].mean(1), []
    for draw in range(DRAWS):
        seen = np.random.default_rng(draw).permutation(values.shape[2])[:samples]
        best = np.argsort(values[:, measure, seen].mean(1), kind="stable")[:kept]
        regrets.append(100 * (scores.max() - scores[best].max()))
    return fmean(regrets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path(), help="folder of easy-VQA")
    parser.add_argument("--work", type=Path, default=WORK)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = measure_all(arguments.work, arguments.source)
    rows, shares = [], []
    for size in SIZES:
        values = np.stack([value for subset, value in measured.items() if len(subset) == size])
        for column, name in enumerate(MEASURES):
            cells = [f"{regret_of_best_kept(values, column, samples):.2f}" for samples in SAMPLES]
            rows.append((f"{size} ({len(values)} subsets)", name, *cells))
            cells = [
                f"{regret_of_best_kept(values, column, samples, math.ceil(len(values) / of)):.2f}"
                for samples, of in SHARES
            ]
            shares.append((rows[-1][0], name, *cells))
    header = ("k", "sifted by", *(f"{samples} samples" for samples in SAMPLES))
    body = (
        f"easy-VQA's METER with adapters fitted in closed form, {HELD_OUT_SAMPLES} held-out samples. Of all subsets of "
        f"k layers the best {KEPT} by a measure on a few of the samples are kept; the table says how many points of "
        f"score on all samples the best of the kept lies below the best of all (mean of {DRAWS} draws).\n\n"
        f"{format_markdown_table(header, rows)}\n\nWhere a share of them is kept:\n\n"
        f"{format_markdown_table((*header[:2], *(f'1/{of}, {n} samples' for n, of in SHARES)), shares)}"
    )
    write_section("sieve", "How few samples tell good subsets from bad ones", body)


if __name__ == "__main__":
    main()
