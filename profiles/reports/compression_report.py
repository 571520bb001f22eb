"""The report of a run as one value: what was removed and why, what it cost, what it gained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.costs.model_costs import ModelCosts
from compressor.evaluation.score import IndexRecall, Score
from compressor.saved_run.manifest import RunSettings, ScorePair
from compressor.search.budgets import BudgetResult
from compressor.values import Value
from exporters.checks.records import Parity
from profiles.analysis.answer_flips import Flips
from profiles.analysis.effects import Alternatives
from profiles.comparison.full_vs_slim import NotMeasured, ProfileReport

SCHEMA_VERSION = 1
REPORT, MARKDOWN = "report.json", "report.md"
KEPT, REPLACED = "■", "□"
IN_PLACE = {"adapter": "skip adapter", "merged": "merged into the layer in front", "none": "removed"}


class Candidate(Value):
    """A layer the search could have skipped.

    ``gate`` is its final value, None without DAS. ``reward_skipped`` and ``reward_kept`` are mean rewards exp(-loss) of
    the subsets that moved the gates, those that skipped and those that kept it; ``best`` are the best subsets that skip
    and that keep it. None where there was no such subset.
    """

    name: str
    pool: str
    skipped: bool
    gate: float | None
    reward_skipped: float | None
    reward_kept: float | None
    best: Alternatives | None


class ExportSummary(Value):
    """One exported file and whether it answers like the slim model; one that does not was removed and has 0 bytes."""

    file: str
    bytes: int
    parity: Parity


class CompressionReport(Value):
    """Everything known about a run, as one value; terminal, JSON and Markdown only draw it."""

    schema_version: int = SCHEMA_VERSION
    run: str
    family: str
    task: str
    checkpoint: str
    strategy: str
    picture: tuple[str, ...]
    skipped: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    floor_name: str
    floor: float
    full: Score | None
    slim: Score
    apart: Mapping[str, ScorePair]
    answer_agreement: float | None
    index: IndexRecall | None = None
    updated_parameters: Mapping[str, int]
    costs: ModelCosts
    merged_tokens: tuple[int, ...] = ()
    exports: tuple[ExportSummary, ...]
    profile: ProfileReport | None
    not_measured: tuple[NotMeasured, ...]
    data: tuple[Mapping[str, Any], ...]
    settings: RunSettings
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    command: str
    budget: BudgetResult | None = None
    flips: Flips | None = None
    remarks: tuple[str, ...] = ()

    @property
    def legend(self) -> str:
        """What the signs of the picture mean."""
        return f"{KEPT} kept   {REPLACED} {IN_PLACE[self.settings.replace]}"

    @property
    def full_word(self) -> str:
        """What scores are compared with: the full model, or with ``--adapt`` a run that skips nothing."""
        return "reference" if self.settings.reference else "full"

    @property
    def labelled(self) -> bool:
        """Return whether the data is labelled; else labels are the full model's predictions (``--calibration``)."""
        return self.settings.calibration is None
