"""On how few samples may subsets be sifted, and by what: the reasons behind the default strategy's first stages.

    python -m benchmarks.search.sieve --source FOLDER_OF_EASYVQA

Scores all subsets of 2, 4, 6 and 8 of the 12 fusion layers of the METER of ``benchmarks.search.strategies easyvqa``
on 1,024
held-out samples, sample by sample. Then draws n of the samples again and again, keeps the best 16 subsets by what those
samples say, and reports how far the best of these lies below the best of all.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.results import LogProgress, write_section
from benchmarks.search.strategies import SETTINGS, WORK
from compressor.data.batches import batches_of_like_length
from compressor.job import prepare_job
from compressor.models.supernet import Supernet
from compressor.progress import QUIET
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import HELD_OUT_SAMPLES, encode_calibration
from compressor.tasks import TASKS
from compressor.training.activation_cache import Encoded
from profiles.formatting import format_markdown_table

SIZES, SAMPLES, KEPT, DRAWS = (2, 4, 6, 8), (16, 32, 64, 128, 256), 16, 20
CHUNK = 256
MEASURES = ("divergence", "loss", "score")


def measure_all(work: Path, source: Path) -> dict[frozenset[str], np.ndarray]:
    """For every subset its divergence, loss and badness (1 - score) on each sample, (3, samples)."""
    job = prepare_job(SETTINGS["easyvqa"].settings(work, source, 0).model_copy(update={"skip": SIZES[0]}))
    supernet = Supernet(job.model, job.candidates)
    fit_adapters(supernet, encode_calibration(job, supernet, QUIET))
    drawn = np.random.default_rng(0).permutation(len(job.data.held_out))[:HELD_OUT_SAMPLES]
    held_out = Encoded(job.data.held_out.subset(drawn), with_teacher(supernet), job.device)
    subsets = [frozenset(chosen) for size in SIZES for chosen in combinations(job.candidates, size)]
    found: dict[frozenset[str], list[torch.Tensor]] = {subset: [] for subset in subsets}
    chunks = batches_of_like_length(held_out.lengths, CHUNK)
    for numbers in LogProgress().track(chunks, "Scoring every subset", len(chunks)):
        batch = held_out.batch(numbers)
        for subset, logits in supernet.logits_of_all(batch, subsets):
            apart = F.binary_cross_entropy_with_logits(logits, batch["teacher"].sigmoid(), reduction="none").sum(-1)
            loss = F.binary_cross_entropy_with_logits(logits, batch["targets"], reduction="none").sum(-1)
            found[subset].append(torch.stack([apart, loss, 1 - TASKS["vqa"].scores(logits, batch)]))
    return {subset: torch.cat(parts, 1).numpy() for subset, parts in found.items()}


def regret_of_best_kept(values: np.ndarray, measure: int, samples: int) -> float:
    """Points that the best of the subsets kept by ``measure`` on some samples lies below the best of all; a mean.

    Args:
        values: (subsets, 3, samples) of one size.
        measure: which of the three sifts.
        samples: how many samples it is taken on.
    """
    scores, regrets = 1 - values[:, 2].mean(1), []
    for draw in range(DRAWS):
        seen = np.random.default_rng(draw).permutation(values.shape[2])[:samples]
        kept = np.argsort(values[:, measure, seen].mean(1), kind="stable")[:KEPT]
        regrets.append(100 * (scores.max() - scores[kept].max()))
    return fmean(regrets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path(), help="folder of easy-VQA")
    parser.add_argument("--work", type=Path, default=WORK)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = measure_all(arguments.work, arguments.source)
    rows = []
    for size in SIZES:
        values = np.stack([value for subset, value in measured.items() if len(subset) == size])
        for measure, name in enumerate(MEASURES):
            cells = [f"{regret_of_best_kept(values, measure, samples):.2f}" for samples in SAMPLES]
            rows.append((f"{size} ({len(values)} subsets)", name, *cells))
    header = ("k", "sifted by", *(f"{samples} samples" for samples in SAMPLES))
    body = (
        f"easy-VQA's METER with adapters fitted in closed form, {HELD_OUT_SAMPLES} held-out samples. Of all subsets of "
        f"k layers the best {KEPT} by a measure on a few of the samples are kept; the table says how many points of "
        f"score on all samples the best of the kept lies below the best of all (mean of {DRAWS} draws).\n\n"
        f"{format_markdown_table(header, rows)}"
    )
    write_section("sieve", "How few samples tell good subsets from bad ones", body)


if __name__ == "__main__":
    main()
