"""The claims of ``--assert`` and the earlier profile that a profile is held against, opened before the timing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from compressor.device import choose_device
from compressor.errors import CheckFailed, Checks
from compressor.saved_run.run_folder import Run, open_run
from exporters.checks.records import EXPORTS, read_statuses
from profiles.comparison.full_vs_slim import ProfileReport
from profiles.deployment.ways import choose_runtimes
from profiles.gates import assertions
from profiles.gates.assertions import Claim
from profiles.gates.baseline import (
    BaselineChanges,
    Profiled,
    attach_scores,
    compare_profiles,
    find_regressions,
    open_baseline,
)
from profiles.machine.environment import describe_environment


@dataclass(frozen=True)
class Gates:
    """The claims about a run's profile, and the earlier profile it may not be worse than; None without one."""

    run: Run
    claims: tuple[Claim, ...]
    baseline: Profiled | None

    def compare(self, report: ProfileReport) -> BaselineChanges | None:
        """Return what changed since the baseline; None without one."""
        return compare_profiles(self.baseline, attach_scores(self.run, report)) if self.baseline else None

    def describe_kept(self) -> tuple[str, ...]:
        """Return what held, in sentences, after :meth:`check` found nothing."""
        count, texts = len(self.claims), ", ".join(claim.text for claim in self.claims)
        claims = [f"{count} claim{'s hold' if count > 1 else ' holds'}: {texts}"] if count else []
        return (*claims, *(["nothing is worse than the baseline"] if self.baseline else []))

    def check(self, report: ProfileReport, changes: BaselineChanges | None) -> None:
        """Hold a profile against the claims, and what changed against the baseline's tolerances.

        Raises:
            CheckFailed: with every claim that does not hold and everything that got worse.
        """
        values = (
            *assertions.collect_measurements(report, read_statuses(self.run.path / EXPORTS)),
            *assertions.collect_scores(self.run.manifest),
        )
        worse = find_regressions(changes) if changes else ()
        if problems := (*assertions.find_failures(self.claims, values), *worse):
            raise CheckFailed(*problems)


def open_gates(
    folder: Path | None,
    claims: str,
    baseline: Path | None,
    *,
    runtimes: Sequence[str],
    batch: int,
    threads: int | None,
    device: str | None,
) -> Gates:
    """Read the claims, and open the baseline that a profile of a run with these settings can be compared with.

    Args:
        folder: of the run, or None for runs/latest.
        claims: as typed.
        baseline: an earlier profile; None without one.
        runtimes: names or aliases; when empty those that are measured then.
        batch: samples in one call.
        threads: CPU threads of every runtime.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.

    Raises:
        UsageError: an unknown runtime or device, or a claim that cannot be read, or of a runtime that is not measured.
        InputError: no run there, or the baseline holds no profile, or one whose numbers cannot be compared.
    """
    checks, earlier = Checks(), None
    with checks:
        names = [runtime.name for runtime in choose_runtimes(runtimes, device)]
        with checks:
            conditions = assertions.parse_claims(claims, names)
    with checks:
        run = open_run(folder)
    if not checks.found and baseline:
        place = describe_environment(choose_device(device).type, threads or torch.get_num_threads())
        earlier = open_baseline(baseline, run, batch=batch, runtimes=names, environment=place)
    checks.raise_found()
    return Gates(run, conditions, earlier)
