"""What the runs of a table of the paper came to, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from compressor.costs.part_names import PARALLEL
from compressor.evaluation.score import Score
from compressor.families import FAMILIES
from compressor.saved_run.manifest import Manifest
from compressor.training.recovery import PARALLEL_ADAPTERS, SKIP_ADAPTERS
from compressor.tuning.tuned import Tuned
from compressor.values import Value
from profiles.comparison.seeds import Difference, Spread, spread_of, subtract
from profiles.machine.environment import Environment
from profiles.macs.tuning_costs import count_tuning
from profiles.paper.printed import PrintedRow
from profiles.timing.latency import Latency

UNKNOWN, NOISE = "one seed cannot tell", "inside the noise of seeds"
WITHIN, BEYOND = "beyond seeds, within samples", "beyond seeds and samples"
NO_TRAINING = "evaluate"  # stage of a run that trains nothing and chooses nothing


class Measurement(Value):
    """One finished run of a row.

    Attributes:
        seed: of the command.
        folder: of the run.
        layers: that are skipped.
        score: on the evaluation split.
        updated_parameters: how many were trained, by part.
        as_counted: those of them that papers count.
        additional_macs: of one sample, against the plain model; without exact trims, as the paper counts.
        seconds: of search and training.
    """

    seed: int
    folder: str
    layers: tuple[str, ...] = ()
    score: Score
    updated_parameters: Mapping[str, int]
    as_counted: int
    additional_macs: int
    seconds: float


class Failure(Value):
    """A run that could not be made: the codes of its problems, what was found, and what to do."""

    seed: int
    folder: str
    codes: tuple[str, ...]
    found: str
    fix: str


class Comparison(Value):
    """The mean score of a row less that of ``other``, by its title, as a share; ``verdict`` says what to make of it."""

    other: str
    difference: Difference
    verdict: str


class ReproducedRow(Value):
    """One row of the table.

    Attributes:
        name, title, method, skip, start: as in :class:`profiles.paper.table_rows.TableRow`.
        runs: that are finished.
        failures: of runs that could not be made.
        missing: why there are no runs, as a sentence; '' where there are, or should be.
        score: over the runs; None without any.
        latency: of a call of the first run's model; None without runs.
        printed: the paper's rows.
        compared: with other rows.
    """

    name: str
    title: str
    method: str
    skip: int | None
    start: str = ""
    runs: tuple[Measurement, ...] = ()
    failures: tuple[Failure, ...] = ()
    missing: str = ""
    score: Spread | None = None
    latency: Latency | None = None
    printed: tuple[PrintedRow, ...] = ()
    compared: tuple[Comparison, ...] = ()

    @property
    def seconds(self) -> float:
        """The mean of the seconds of its runs."""
        return fmean(run.seconds for run in self.runs)


class PlainModel(Value):
    """The model that nothing is skipped of and nothing added to; its score where its head was trained."""

    macs: int
    parameters: int
    score: Score | None
    latency: Latency


class Reproduction(Value):
    """A table of the paper, run on a checkpoint of one's own.

    Attributes:
        table: as users type it.
        checkpoint, family, task: that it was run on.
        fine_tuned: the checkpoint has a head for the task.
        dataset, split: that the paper's scores are of.
        differs: why the paper's figures are of something else, as sentences; empty where sizes give no reason.
        seeds: of each row.
        plain: the full model; None where nothing measured it.
        rows: of the table.
        data: the splits, as manifests describe them.
        settings: the options that were passed on.
        environment: of the timing.
        folder: of all runs.
        command: that made it.
    """

    schema_version: int = 1
    table: str
    checkpoint: str
    family: str
    task: str
    fine_tuned: bool
    dataset: str
    split: str
    differs: tuple[str, ...]
    seeds: tuple[int, ...]
    plain: PlainModel | None
    rows: tuple[ReproducedRow, ...]
    data: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    environment: Environment
    folder: str
    command: str

    @property
    def evaluation_split(self) -> str:
        """Name of the split that scores come from: ``data`` lists training, held-out and evaluation split first."""
        return str(self.data[2]["name"])

    @property
    def score(self) -> Score | None:
        """Any score: its metric, samples and margin stand for all."""
        return next((run.score for row in self.rows for run in row.runs), None)


def measure_run(manifest: Manifest, folder: str, seed: int) -> Measurement:
    """Return what a run of ``das compress`` came to."""
    counts, costs = manifest.updated_parameters, manifest.costs
    plain = costs.macs.full - costs.macs_by_pool[PARALLEL].full
    return Measurement(
        seed=seed,
        folder=folder,
        layers=manifest.plan.layers,
        score=manifest.results.slim,
        updated_parameters=counts,
        as_counted=counts.get(SKIP_ADAPTERS, 0) + counts.get(PARALLEL_ADAPTERS, 0),
        additional_macs=costs.trims.before - plain,
        seconds=sum(took for stage, took in manifest.results.seconds.items() if stage != NO_TRAINING),
    )


def measure_tuned(tuned: Tuned, folder: str, seed: int) -> Measurement:
    """Return what a run of ``das tune`` came to."""
    dims = FAMILIES[tuned.family].dims_type(**tuned.dims)
    return Measurement(
        seed=seed,
        folder=folder,
        score=tuned.score,
        updated_parameters=tuned.updated_parameters,
        as_counted=count_tuning(tuned.family, tuned.method, dims=dims).updated_parameters,
        additional_macs=tuned.additional_macs,
        seconds=sum(took for stage, took in tuned.seconds.items() if stage != NO_TRAINING),
    )


def plain_of(manifest: Manifest, latency: Latency) -> PlainModel:
    """Return the full model of a run of ``das compress``, without the adapters that ``--adapt`` puts beside layers."""
    costs = manifest.costs
    return PlainModel(
        macs=costs.macs.full - costs.macs_by_pool[PARALLEL].full,
        parameters=costs.parameters.full - costs.parameters_by_pool[PARALLEL].full,
        score=manifest.results.full,
        latency=latency,
    )


def complete_rows(
    rows: Sequence[ReproducedRow], against: Mapping[str, Sequence[str]], full: Mapping[str, Score]
) -> tuple[ReproducedRow, ...]:
    """Return the rows with the spread of their scores and their comparisons.

    Args:
        rows: of the table.
        against: names of the rows that each is compared with, by name.
        full: scores of models that were not trained here, and so have no seeds, by name.
    """
    spreads = {row.name: spread_of([run.score.value for run in row.runs]) for row in rows if row.runs}
    titles = {row.name: row.title for row in rows}

    def compare(row: ReproducedRow, other: str) -> Comparison:
        ours, margin = spreads[row.name], fmean(run.score.margin for run in row.runs)
        difference = _less(ours, full[other].value) if other in full else subtract(ours, spreads[other])
        return Comparison(other=titles.get(other, other), difference=difference, verdict=_judge(difference, margin))

    return tuple(
        row.model_copy(
            update={
                "score": spreads[row.name],
                "compared": tuple(compare(row, other) for other in against[row.name] if other in {**spreads, **full}),
            }
        )
        if row.runs
        else row
        for row in rows
    )


def _less(score: Spread, value: float) -> Difference:
    """Return a score less one that has no seeds."""
    low, high = (None if end is None else end - value for end in (score.low, score.high))
    return Difference(value=score.mean - value, low=low, high=high)


def _judge(difference: Difference, margin: float) -> str:
    """Return what a difference says; ``margin`` is that of one score over the samples, at 95 %."""
    if difference.inside_noise is None:
        return UNKNOWN
    if difference.inside_noise:
        return NOISE
    return WITHIN if abs(difference.value) <= margin else BEYOND
