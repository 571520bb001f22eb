"""Writing a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.checkpoints.sources.source_files import copy_source_files
from compressor.evaluation.score import EveryScore
from compressor.files import TOKENIZER_FILE, atomic_folder, write_json
from compressor.saved_run.manifest import MANIFEST, Manifest
from compressor.saved_run.run_folder import (
    ANSWERS,
    EVERY,
    LABELS,
    PREPROCESSOR,
    SAMPLES,
    SEARCH,
    SEARCH_LOG,
    WEIGHTS,
    Run,
)
from compressor.search.result import LogEntry, SearchResult

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from compressor.models.steps import StepModel


def every_tensor(answers: EveryScore) -> dict[str, Tensor]:
    """Return the tensors that a run stores them as, by name."""
    import torch

    return {EVERY + name: torch.tensor(array) for name, array in vars(answers).items()}


def save_run(
    folder: Path,
    slim: StepModel,
    manifest: Manifest,
    *,
    tokenizer: Tokenizer | None,
    source_files: Mapping[str, Path],
    labels: tuple[str, ...],
    samples: Mapping[str, Tensor],
    answers: Mapping[str, Tensor],
    result: SearchResult | None,
    log: Sequence[LogEntry],
) -> Run:
    """Write a run: into a folder with a temporary name, renamed when it is complete.

    Raises:
        CheckFailed: ``slim`` answers otherwise with its trims, as it is loaded; nothing is written.
        EnvironmentProblem: the disk is full or the folder cannot be written; nothing is left behind.
    """
    from safetensors.torch import save_file

    from compressor.families import FAMILIES
    from compressor.models.trims.check_trims import check_trims

    check_trims(slim.eval(), samples)
    with atomic_folder(folder, "free some space, then the same command with --resume") as temporary:
        save_file({name: value.contiguous() for name, value in slim.state_dict().items()}, temporary / WEIGHTS)
        save_file({name: value.contiguous() for name, value in samples.items()}, temporary / SAMPLES)
        save_file({name: value.contiguous() for name, value in answers.items()}, temporary / ANSWERS)
        # Padding and length belong to the model, not to the file: das sets them whenever it opens the tokenizer.
        if tokenizer:
            (temporary / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=True))
        copy_source_files(source_files, temporary)
        transform = FAMILIES[slim.family].image_transform
        write_json(temporary / PREPROCESSOR, transform(slim.dims).describe() if transform else {"transform": None})
        write_json(temporary / LABELS, list(labels))
        if result:
            (temporary / SEARCH).write_text(result.model_dump_json(indent=2))
        (temporary / SEARCH_LOG).write_text(
            "".join(json.dumps(entry.model_dump(exclude_none=True)) + "\n" for entry in log)
        )
        (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return Run(folder.resolve(), manifest)
