"""What users of an export need beside the graph: names of its classes, its texts and images."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.data.types import Transforms
from compressor.run_folder import Run


@dataclass(frozen=True)
class Usage:
    """How a model is used.

    Attributes:
        labels: names of the classes, in the order of the logits.
        transforms: from texts and images to the model's inputs.
    """

    labels: tuple[str, ...]
    transforms: Transforms


def usage_of(run: Run) -> Usage:
    """Return how the models of a run are used.

    Raises:
        InputError: the run's labels or its tokenizer cannot be read.
    """
    return Usage(run.labels(), run.transforms())
