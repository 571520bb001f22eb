"""The whole compression: evaluate the full model, search, fit, recover, evaluate the slim model, save the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.splits import Split, TaskData
from compressor.device import use_fast_products
from compressor.distributed import from_main, is_main, world_size
from compressor.errors import CheckFailed, UsageError
from compressor.evaluation.evaluate import Evaluation, evaluate
from compressor.evaluation.evaluate_job import Evaluations, FullEvaluations, evaluate_splits, identify_full
from compressor.evaluation.pseudo_labels import label_with_full
from compressor.evaluation.reference_run import remark_on_reference
from compressor.evaluation.remarks import remark_on
from compressor.evaluation.score import Score
from compressor.jobs.check_work import remark_on_held_out
from compressor.jobs.job import Job
from compressor.jobs.open_inputs import open_inputs
from compressor.jobs.prepare_job import prepare_job
from compressor.models.plan import Plan
from compressor.models.steps import StepModel
from compressor.models.trims.check_trims import TrimsDiffer
from compressor.progress import QUIET, Progress, Stages
from compressor.saved_run.manifest import MANIFEST
from compressor.saved_run.resume import RunCheckpoint, Stage, check_same
from compressor.saved_run.run_contents import choose_samples, gather_answers, make_manifest, make_results
from compressor.saved_run.run_folder import Run, open_run
from compressor.saved_run.run_places import destination, interrupted_runs, point_latest_at, run_name
from compressor.saved_run.save_run import save_run
from compressor.search.budgets import KINDS, Prices
from compressor.search.fit_budget import fit_request
from compressor.search.reuse import open_search
from compressor.search.select_layers import FinishedSearch, draw_scored_samples, select_layers
from compressor.settings import PLACES, Settings
from compressor.training.expected_time import LONG, Expected, expect_search_time, expect_time
from compressor.training.fit_slim import Fitter

MeasurePrices = Callable[[Job], Prices]
"""Measures what a job's layers cost, where a search does not know: their latency."""


@dataclass(frozen=True)
class Compressed:
    """A run, and what its making leaves in memory; only the run where it was finished before.

    Attributes:
        run: its folder.
        full: the full model, on the CPU; None after a transfer, which has trained parts of it.
        slim: the slim model before its exact trims, on the CPU.
        data: opened and checked.
        full_scores: after a transfer, whose head was untrained, those of its reference, if any.
        slim_scores: of the slim model.
    """

    run: Run
    full: StepModel | None = None
    slim: StepModel | None = None
    data: TaskData | None = None
    full_scores: Evaluations | None = None
    slim_scores: Evaluations | None = None


class Compression:
    """The compression of one checkpoint.

    Args:
        settings: what is asked for.
        command: the command line, for the record.
        resume: go on with an interrupted run of the same settings; it ends where an uninterrupted one would.
        progress: told about every stage.
        measure_prices: for a budget of a kind that is measured.
        known: full models that other compressions have scored; this one adds its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        command: str = "",
        resume: bool = False,
        progress: Progress = QUIET,
        measure_prices: MeasurePrices | None = None,
        known: FullEvaluations | None = None,
    ) -> None:
        self.settings, self.command, self.resume = settings, command, resume
        self.progress, self.measure_prices = progress, measure_prices
        self.known = {} if known is None else known

    def run(self) -> Compressed:
        """Compress and save the run, or open the run if it was killed after it was complete.

        Raises:
            DasError: as :func:`prepare_job`, and when the run cannot be written.
            CheckFailed: the budget cannot be reached, and nothing is kept; or the family's exact trims are not exact.
            Interrupted: on Ctrl-C or SIGTERM; the state is saved.
        """
        settings = self.settings
        inputs = open_inputs(settings, lambda task: from_main(lambda: destination(settings, task, self.resume)))
        folder = inputs.folder
        assert folder
        if run := from_main(lambda: _open_finished(folder, settings)):
            self._point_latest_at(run)
            return Compressed(run)
        if not (self.resume or settings.out):
            for unfinished in interrupted_runs(run_name(settings, inputs.task)):
                found = "holds the state of a run that was interrupted, or is going on"
                self.progress.say(f"note: {unfinished} {found}: the same command with --resume goes on with it")
        job = prepare_job(settings, self.progress, inputs)
        for note in job.loaded.notes:
            self.progress.say(note)
        self._say_expected(job, expect_time)
        checkpoint = RunCheckpoint(folder if is_main() else None, identify(job))
        checkpoint.load() if self.resume else checkpoint.reserve()
        stages = Stages(checkpoint.state.seconds)
        try:
            with checkpoint.save_on_interrupt():
                prices = self._measure_prices(job, checkpoint, stages)
                with use_fast_products(job.model):
                    compressed = self._compress(job, folder, checkpoint, stages, prices)
        except TrimsDiffer:
            raise  # what was trained is right, and can be saved when the family's declaration is
        except (CheckFailed, UsageError):
            checkpoint.remove()
            raise
        checkpoint.remove()
        self._point_latest_at(compressed.run)
        return compressed

    def _point_latest_at(self, run: Run) -> None:
        """Let ``runs/latest`` lead to the run; where it cannot, say so: the run is complete."""
        if is_main() and (why := point_latest_at(run.path)):
            self.progress.say(f"note: {why}: name the run in the next commands, {run.path}")

    def search(self) -> tuple[Plan, FinishedSearch]:
        """Search without cutting; return the plan that would be followed, and the search.

        Raises:
            DasError: as :func:`prepare_job`.
            Interrupted: on Ctrl-C or SIGTERM; nothing is kept.
        """
        job, checkpoint = prepare_job(self.settings, self.progress), RunCheckpoint(None, {})
        self._say_expected(job, expect_search_time)
        with use_fast_products(job.model):
            if job.asks_full:
                job = label_with_full(job, checkpoint, self.progress)
            if not (job.settings.adapt or job.task.ranked):
                held_out, label = draw_scored_samples(job), "Evaluating the full model on held-out samples"
                self._remark(
                    job, held_out, evaluate(job.model, held_out, job.task, progress=self.progress, label=label)
                )
            self._warn(remark_on_held_out(job))
            search = select_layers(job, checkpoint, Stages(), self.progress)
        return job.plan(search.result.chosen[job.skip]), search

    def _say_expected(self, job: Job, expect: Callable[[Job], Expected]) -> None:
        """Say how long it will take, where that is long and someone listens."""
        if self.progress is QUIET or self.resume or world_size() > 1:
            return
        with self.progress.stage("Timing a few batches"), use_fast_products(job.model):
            expected = expect(job)
        if expected.total >= LONG:
            self.progress.say(expected.describe())

    def _compress(
        self, job: Job, folder: Path, checkpoint: RunCheckpoint, stages: Stages, prices: Prices | None
    ) -> Compressed:
        if job.asks_full:
            with stages.timed("ask"):
                job = label_with_full(job, checkpoint, self.progress)
        full = self._evaluate_full(job, checkpoint, stages)
        remarks = self._remark(job, job.data.evaluation, full[0]) if full and not job.reference else ()
        if job.reference:
            remarks = self._warn(remark_on_reference(job.reference, job.settings))
        fitter = Fitter(job, checkpoint, stages, self.progress)  # before the search adds adapters
        remarks = (*remarks, *self._warn(remark_on_held_out(job)))
        search = self._search(job, checkpoint, stages)
        slim, budget = fit_request(fitter, search.result if search else None, prices)
        with stages.timed("evaluate"):
            scores = evaluate_splits(job, slim.model, "slim", self.progress)
        manifest = make_manifest(
            job, slim, search, self.command, make_results(job, full, scores, stages, remarks), budget
        )
        slim.model.to("cpu")
        save = partial(
            save_run,
            folder,
            slim.model,
            manifest,
            tokenizer=job.tokenizer,
            source_files=job.source_files,
            labels=job.data.labels,
            samples=choose_samples(job),
            answers=gather_answers(job, full, scores),
            result=search.result if search else None,
            log=search.log if search else [],
        )
        with self.progress.stage("Saving the run"):
            run = from_main(save)
        unchanged = None if job.settings.adapt else job.model.to("cpu").eval()
        return Compressed(run, unchanged, slim.model, job.data, full, scores)

    def _measure_prices(self, job: Job, checkpoint: RunCheckpoint, stages: Stages) -> Prices | None:
        """Measure the prices of a budget that the search does not know, once for all resumed runs; None for others."""
        budget, measure = job.settings.budget, self.measure_prices
        if budget is None or KINDS[budget.kind].prices:
            return None
        if checkpoint.result(Stage.PRICE) is None:
            if measure is None:
                raise ValueError(f"a budget on {KINDS[budget.kind].noun} needs measure_prices")
            with stages.timed("measure"):
                checkpoint.finish(Stage.PRICE, from_main(lambda: measure(job).model_dump()))
        return Prices(**checkpoint.result(Stage.PRICE))

    def _evaluate_full(self, job: Job, checkpoint: RunCheckpoint, stages: Stages) -> Evaluations | None:
        """Return the full model's scores; of a transfer, whose head is untrained, those of its reference, if any."""
        if job.settings.adapt and not job.reference:
            return None
        key, saved = identify_full(job), checkpoint.result(Stage.EVALUATE)
        if saved:
            self.known[key] = tuple(Evaluation(**{**entry, "score": Score(**entry["score"])}) for entry in saved)
        elif key not in self.known:
            model = job.reference.load_saved().to(job.device) if job.reference else job.model
            with stages.timed("evaluate"):
                self.known[key] = evaluate_splits(job, model, "reference" if job.reference else "full", self.progress)
        full = self.known[key]
        if not saved:
            checkpoint.finish(Stage.EVALUATE, [{**vars(entry), "score": entry.score.model_dump()} for entry in full])
        return full

    def _remark(self, job: Job, split: Split, evaluation: Evaluation) -> tuple[str, ...]:
        """Say, and return, what makes the full model's score on a split implausible; before long work is done."""
        floor = job.task.baseline.score(job.data.train, split)
        return self._warn(remark_on(evaluation, job.task, job.data.labels, floor))

    def _warn(self, remarks: tuple[str, ...]) -> tuple[str, ...]:
        """Say, and return, what remarks there are."""
        for remark in remarks:
            self.progress.say(f"warning: {remark}")
        return remarks

    def _search(self, job: Job, checkpoint: RunCheckpoint, stages: Stages) -> FinishedSearch | None:
        """Search, or open an earlier run's search; None where the layers are named."""
        if job.settings.from_run:
            return open_search(job.settings.from_run)
        return select_layers(job, checkpoint, stages, self.progress) if job.searches else None


def compress(
    settings: Settings,
    *,
    command: str = "",
    resume: bool = False,
    progress: Progress = QUIET,
    measure_prices: MeasurePrices | None = None,
) -> Run:
    """Compress a checkpoint and return the saved run, as :class:`Compression` does."""
    compression = Compression(
        settings, command=command, resume=resume, progress=progress, measure_prices=measure_prices
    )
    return compression.run().run


def _open_finished(folder: Path, settings: Settings) -> Run | None:
    """Return the run in ``folder``, where it was killed after it was complete; None where it is still to be made.

    Raises:
        InputError: it was made with other settings.
    """
    if not (folder / MANIFEST).exists():
        return None
    run = open_run(folder)
    values = settings.model_dump(mode="json", exclude=PLACES)
    check_same(folder, values, run.manifest.settings.model_dump(mode="json", include=set(values)))
    RunCheckpoint(folder, {}).remove()
    return run


def identify(job: Job) -> dict[str, Any]:
    """Return what must be the same for a run to be resumed."""
    return {
        **job.settings.model_dump(exclude=PLACES),
        "layers": list(job.candidates),
        "checkpoint": job.source.sha256,
        "data": [split.describe()["fingerprint"] for split in job.data.splits],
        "tokens": job.tokens_digest,
        "calibration": job.settings.calibration is not None,
    }
