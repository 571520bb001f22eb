"""Fit a slim model: remove layers, set the adapters in their place or merge maps into their neighbours, train them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from compressor.distributed import copy_from_main
from compressor.families import FAMILIES
from compressor.jobs.job import Job
from compressor.models.plan import Plan
from compressor.models.steps import StepModel, Streams, steps_of
from compressor.models.supernet import Supernet
from compressor.models.surgery import remove_layers
from compressor.progress import Progress, Stages
from compressor.saved_run.resume import RunCheckpoint, Stage
from compressor.search.least_squares import fit_adapters
from compressor.search.merged_maps import merge_maps
from compressor.search.select_layers import encode_calibration, encode_split, run_calibration
from compressor.training.activation_cache import Answered
from compressor.training.recovery import RecoveryTraining, count_updated_parameters, encoder_of, recovery_groups


@dataclass(frozen=True)
class SlimModel:
    """A slim model after its recovery, its plan, and the number of updated parameters by what they belong to."""

    plan: Plan
    model: StepModel
    updated_parameters: dict[str, int]


class Fitter:
    """Fits slim models of a job, by its recipe; the full model is asked for its answers once, for all of them.

    Args:
        job: its model holds the adapters that a search trains; those it has now came with the checkpoint, and stay.
        checkpoint: resumes and saves the training.
        stages: told how long fitting and recovery take.
        progress: told about both.
    """

    def __init__(self, job: Job, checkpoint: RunCheckpoint, stages: Stages, progress: Progress) -> None:
        self.job, self.checkpoint, self.stages, self.progress = job, checkpoint, stages, progress
        self._own_adapters = frozenset(job.model.skips)
        self._answered: Answered | None = None

    def fit(self, layers: Sequence[str]) -> SlimModel:
        """Return the slim model without ``layers``, recovered as the job asks.

        Raises:
            Interrupted: on Ctrl-C or SIGTERM while training; the state is saved.
        """
        plan = self.job.plan(layers)
        self._set_adapters(plan)
        slim = remove_layers(self.job.model, plan)
        merged = self._merge_maps(slim) if self.job.merges else {}
        slim = self.job.merge_tokens(slim)  # behind maps, which are fitted token by token
        with self.stages.timed("recover"):
            return SlimModel(plan, slim, {**merged, **self._recover(slim)})

    def _merge_maps(self, slim: StepModel) -> dict[str, int]:
        """Merge what skipped layers did into those in front; return the number of updated parameters."""
        job, family = self.job, FAMILIES[slim.family]
        first = {step.stream: step for step in reversed(steps_of(slim.rounds)) if step.pool}
        for step in reversed(first.values()):
            if step.skipped:
                self.progress.say(f"note: {step.name} has no layer in front to be merged into; it is only removed")

        def encode(batch: dict[str, Tensor]) -> Streams:
            return job.model.prologue(**{name: batch[name] for name in family.input_names})

        with self.stages.timed("fit"):
            changed = merge_maps(job.model, slim, family.absorbers, run_calibration(job, encode, self.progress))
            copy_from_main(changed)
        return count_updated_parameters(slim, [(list(changed), 0.0)])

    def _set_adapters(self, plan: Plan) -> None:
        """Bring the full model's adapters to what ``--recover`` wants before any training."""
        job = self.job
        if job.settings.recover == "none" and not job.trains_while_searching:
            for name in set(job.model.skips) - self._own_adapters:
                del job.model.skips[name]
        elif job.fits_adapters:
            with self.stages.timed("fit"):
                supernet = Supernet(job.model, plan.layers, width=job.settings.skip_width)
                fit_adapters(
                    supernet, encode_calibration(job, supernet, self.progress), plan.layers, self._own_adapters
                )
                copy_from_main(supernet.adapters())

    def _recover(self, slim: StepModel) -> dict[str, int]:
        """Train the slim model in place; return the number of updated parameters by what they belong to."""
        job, recovery = self.job, self.job.recovery
        if job.settings.recover == "none" and not job.trains_while_searching:
            return {}
        if job.trains_in_recovery:
            # A transfer's head has learnt nothing yet; where the full model teaches, its answers are the targets.
            teacher = None if job.settings.adapt or job.task.taught else job.model
            split, answered, label = job.data.train, self._answered, "Asking the full model once"
            if answered or not teacher:
                label = "Encoding the training data again" if answered else "Encoding what the recovery trains on, once"
            with self.progress.stage("Tokenising the training data"):
                order = recovery.order(split)
            train = encode_split(
                job,
                split,
                encoder_of(slim, None if answered else teacher, recovery),
                self.checkpoint,
                self.progress,
                label,
                unanswered=encoder_of(slim, None, recovery) if teacher else None,
                numbers=order.samples(recovery.steps),
                answered=answered,
            )
            self._answered = train.answered
            training = RecoveryTraining(slim, job.task, train, recovery, order)
            with self.checkpoint.running(Stage.RECOVER, training):
                training.run(self.checkpoint.after_step, self.progress)
        return count_updated_parameters(slim, recovery_groups(slim, recovery))
