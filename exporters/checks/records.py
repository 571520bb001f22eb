"""The record beside every export: what was compared, and what came of it. Read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from compressor.errors import input_error
from compressor.evaluation.score import IndexRecall
from compressor.values import Value
from exporters.checks.audit import Shares

SCHEMA_VERSION = 1
EXPORTS = "exports"  # of a run
RECORD = ".parity.json"  # added to the name of an export
MOST_BEYOND = 0.3  # of the largest logit, as much as int8 may cost
Status = Literal["passed", "failed", "not verified"]


class Difference(Value):
    """Two sets of logits, (samples, classes): absolute errors in units of logits.

    ``cosine`` is that of the two samples that are least alike; ``answer_agreement`` the share of samples with the same
    largest logit, None where there is one logit; ``scale`` the largest absolute logit of the reference.
    """

    max_abs_error: float
    mean_abs_error: float
    p99_abs_error: float
    cosine: float
    answer_agreement: float | None
    scale: float


class MetricChange(Value):
    """The task's score on the same samples before and after; ``margin`` is half the 95 % interval of the change."""

    metric: str
    before: float
    after: float
    margin: float

    @property
    def change(self) -> float:
        """``after - before``, in [-1, 1]."""
        return self.after - self.before


def limit_beyond(tolerance: float, scale: float) -> float:
    """Return what no logit may be off by, also of samples that may be beyond ``tolerance``.

    ``scale`` is the largest absolute logit of the reference.
    """
    return max(2 * tolerance, MOST_BEYOND * max(1.0, scale))


class Certificate(Value):
    """An export against the models it comes from, on real samples; ``slim`` is the model that was exported.

    ``fingerprint`` says which samples; ``tolerance`` is what a logit may be off by, ``tightest_tolerance`` the smallest
    round one that would pass; ``reason`` is empty when it passed; ``note`` says why there are fewer samples than 200.
    Where the model merges tokens, the logits of ``may_be_beyond`` samples may be off by more, and those of ``beyond``
    are. ``instructions`` is the instruction set that the CPU it was made on has for integers. ``index`` says, of
    vectors, what those of the export find among the full model's of the same samples; its "slim" is the export.
    """

    samples: int
    fingerprint: str
    tolerance: float
    tightest_tolerance: float
    against_slim: Difference
    against_full: Difference | None
    metric: MetricChange | None
    metric_against_full: MetricChange | None
    reason: str = ""
    note: str = ""
    instructions: str = ""
    index: IndexRecall | None = None
    beyond: int = 0
    may_be_beyond: int = 0

    @property
    def within_tolerance(self) -> bool:
        """True if every logit is within the tolerance, those of samples that may be beyond it within a limit."""
        errors = self.against_slim
        few = 0 < self.beyond <= self.may_be_beyond
        return errors.max_abs_error <= (limit_beyond(self.tolerance, errors.scale) if few else self.tolerance)

    @property
    def passed(self) -> bool:
        """True if it is within the tolerance and, if it is quantised or some samples are beyond, the score holds."""
        return not self.reason


class Comparison(Value):
    """Two sets of logits against each other.

    Errors are absolute, in units of logits, None when nothing finite was compared. ``answer_agreement`` is the share of
    rows with the same largest logit; ``tightest_tolerance`` the smallest round tolerance that would pass, where a few
    rows of a model that merges tokens may be off by more. ``samples`` counts the rows that were run; ``batch_sizes``,
    ``text_lengths`` (tokens) and ``image_sizes`` (height and width in pixels) are those that were tried.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    reason: str = ""
    tolerance: float
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    answer_agreement: float | None = None
    tightest_tolerance: float | None = None
    samples: int = 0
    batch_sizes: tuple[int, ...] = ()
    text_lengths: tuple[int, ...] = ()
    image_sizes: tuple[tuple[int, int], ...] = ()


class Parity(Comparison):
    """A comparison and what was compared: the record beside every export.

    ``sha256`` is by file name, ``graph_sha256`` of an ONNX graph without its metadata. ``attention`` is the form it is
    written in. ``certificate`` is the comparison on many real samples, ``held_back`` names the layers that a quantised
    export computes in float32, and ``starts_at`` says of an export that failed where its error starts. ``shares`` says
    how much of it really runs in ``precision``; None where nobody has looked.
    """

    runtime: str
    precision: str
    versions: Mapping[str, str]
    sha256: Mapping[str, str]
    graph_sha256: str | None = None
    attention: str | None = None
    certificate: Certificate | None = None
    held_back: tuple[str, ...] = ()
    shares: Shares | None = None
    starts_at: str = ""


def record_of(path: Path) -> Path:
    """Return the path of the record of the export ``path``."""
    return path.with_name(path.name + RECORD)


def read_record(path: Path) -> Parity:
    """Read the record of the export ``path``.

    Raises:
        InputError: missing or damaged.
    """
    try:
        return Parity.model_validate_json(record_of(path).read_bytes())
    except (OSError, ValidationError) as error:
        found = f"{record_of(path)} cannot be read ({error})"
        raise input_error(
            "record-unreadable", found, "the record of an export", f"das export makes {path.name} and its record again"
        ) from None


def read_statuses(exports: Path) -> dict[str, str]:
    """Read the status of each export in a folder, by the file name of its record.

    Raises:
        InputError: a record cannot be read.
    """
    files = sorted(exports.glob(f"*{RECORD}"))
    return {file.name: read_record(file.with_name(file.name.removesuffix(RECORD))).status for file in files}
