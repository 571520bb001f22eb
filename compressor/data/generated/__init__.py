"""Data made on the spot for every task, in the task's public format: for the demo, the tests and the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compressor.data.generated.captions import write_retrieval
from compressor.data.generated.hypotheses import write_snli_ve
from compressor.data.generated.questions import write_vqa
from compressor.data.generated.sentences import write_sentences
from compressor.data.generated.statements import write_nlvr2

GENERATED: dict[str, Callable[[Path, int, int], None]] = {
    "vqa": write_vqa,
    "nlvr2": write_nlvr2,
    "irtr": write_retrieval,
    "snli-ve": write_snli_ve,
    "text-classification": write_sentences,
}
"""By task: write so many training images (pairs, sentences) and the other splits into a folder, from a seed."""
