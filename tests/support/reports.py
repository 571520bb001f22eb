"""Profiles of made-up figures, for what reads profiles."""

from compressor.costs.model_costs import ModelCosts, Pair, Trims
from profiles.comparison.full_vs_slim import SCHEMA_VERSION, MemoryPair, ProfileReport, RuntimeProfile
from profiles.machine.environment import Environment
from profiles.machine.memory import Memory
from profiles.timing.latency import summarise_times
from profiles.timing.speedups import estimate_speedup

VERSIONS = {"python": "3.12.1", "torch": "2.9.0", "onnxruntime": "1.23.0", "das-toolkit": "0.1.0"}


def place(**changes):
    """A machine at leisure."""
    own = {"device": "cpu", "machine": "x86_64 Linux", "processor": "a CPU", "cores": 2, "threads": 1, "load": 0.0}
    return Environment(**{**own, "versions": VERSIONS, **changes})


def memory(peak):
    return Memory(before=10**6, peak=peak)


def runtime(name, full_ms, slim_ms, file=10**6, peak=10**8):
    """Full and slim in one runtime, from the times of their calls."""
    full, slim = summarise_times(list(full_ms)), summarise_times(list(slim_ms))
    return RuntimeProfile(
        name=name,
        full=full,
        slim=slim,
        speedup=estimate_speedup(full, slim),
        file_bytes=Pair(full=2 * 10**6, slim=file),
        memory=MemoryPair(full=memory(2 * 10**8), slim=memory(peak)) if peak else None,
    )


def profile_of(
    macs=700,
    parameters=80,
    environment=None,
    batch=1,
    full_macs=1000,
    file=10**6,
    peak=10**8,
    version=SCHEMA_VERSION,
    **times,
):
    """A profile with times of full and slim for each runtime; of torch at least."""
    runtimes = times or {"torch": ([20.0] * 20, [10.0] * 20)}
    return ProfileReport(
        schema_version=version,
        run="tiny",
        family="meter",
        task="vqa",
        skipped=("FL1",),
        batch=batch,
        seconds=1.0,
        macs=Pair(full=full_macs, slim=macs),
        macs_by_pool={"fusion": Pair(full=full_macs, slim=macs)},
        trims=Trims(before=macs, after=macs),
        uncounted={},
        parameters=Pair(full=100, slim=parameters),
        parameters_by_pool={"fusion": Pair(full=100, slim=parameters)},
        runtimes=tuple(runtime(name, *pair, file=file, peak=peak) for name, pair in runtimes.items()),
        environment=environment or place(),
        not_measured=(),
    )


def costs_of(full, slim):
    """Costs of a run, every amount the same two numbers."""
    pair = Pair(full=full, slim=slim)
    parts = {"macs_by_pool": {}, "macs_by_layer": {}, "parameters_by_pool": {}, "uncounted": ()}
    return ModelCosts(macs=pair, trims=Trims(before=slim, after=slim), parameters=pair, weight_bytes=pair, **parts)
