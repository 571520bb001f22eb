"""The profile of full against slim, as one JSON document."""

from __future__ import annotations

from compressor.costs.model_costs import Pair, Trims
from compressor.values import Value
from profiles.machine.conditions import Conditions
from profiles.machine.energy import EnergyPair
from profiles.machine.environment import Environment
from profiles.machine.memory import Memory
from profiles.macs.agreement import Agreement
from profiles.timing.latency import SEED, Latency, Speedup
from profiles.timing.layer_times import LayerTimes
from profiles.timing.roofline import Peaks
from profiles.timing.shared_image import Questions
from profiles.timing.sweeps import SweepPoint

SCHEMA_VERSION = 2
PROFILE = "profile.json"  # a ProfileReport in a run's folder


class MemoryPair(Value):
    """Memory of the full and of the slim model in one runtime, in bytes."""

    full: Memory
    slim: Memory

    @property
    def gpu(self) -> Pair | None:
        """Return the peaks that PyTorch allocated on the GPU; None where that was not measured."""
        if self.full.gpu_allocated is None or self.slim.gpu_allocated is None:
            return None
        return Pair(full=self.full.gpu_allocated, slim=self.slim.gpu_allocated)

    @property
    def peak(self) -> Pair:
        """Return the peaks on the GPU where the models ran there, else of the two processes."""
        return self.gpu or Pair(full=self.full.peak, slim=self.slim.peak)

    @property
    def own(self) -> Pair:
        """Return the peaks less the memory of the interpreter and its libraries before a model is loaded."""
        full, slim = (max(1, memory.peak - memory.before) for memory in (self.full, self.slim))
        return self.gpu or Pair(full=full, slim=slim)


class Started(Value):
    """Seconds to load a model from its files into the runtime, and of the first call, which is never timed again."""

    load_seconds: float
    first_call_seconds: float


class StartedPair(Value):
    """Seconds until the full and the slim model are ready."""

    full: Started
    slim: Started


class RuntimeProfile(Value):
    """Full against slim in one runtime, each in a process of its own.

    ``file_bytes`` are the exported files where it executes those, else the weights. ``conditions`` are those of the
    machine during the timing, ``remark`` their caveats. Quantities that were not measured are None.
    """

    name: str
    full: Latency
    slim: Latency
    speedup: Speedup
    file_bytes: Pair
    memory: MemoryPair | None
    started: StartedPair | None = None
    energy: EnergyPair | None = None
    conditions: Conditions | None = None
    remark: str = ""


class NotMeasured(Value):
    """Something a reader may look for in the report, and why it is not there."""

    what: str
    why: str


class AgreementPair(Value):
    """The three counts of MACs of the full and of the slim model."""

    full: Agreement
    slim: Agreement


class ProfileReport(Value):
    """Full against slim, measured in turns on one machine.

    MACs are of one sample; 1 MAC = 2 FLOPs. ``uncounted`` gives the calls of operators that are not in them. The slim
    model is the one with its exact ``trims``.
    ``seconds`` is the time each comparison was measured for. ``questions`` on one image, ``sweeps``, times of
    ``layers`` and the machine's ``peaks`` are there when asked for. ``counts`` are the three of MACs. ``seed`` is that
    of the bootstrap, ``checkpoint_sha256`` names the full model, ``date`` is UTC.
    """

    schema_version: int = SCHEMA_VERSION
    run: str
    family: str
    task: str
    skipped: tuple[str, ...]
    batch: int
    seconds: float
    macs: Pair
    macs_by_pool: dict[str, Pair]
    trims: Trims
    uncounted: dict[str, Pair]
    parameters: Pair
    parameters_by_pool: dict[str, Pair]
    runtimes: tuple[RuntimeProfile, ...]
    environment: Environment
    not_measured: tuple[NotMeasured, ...]
    questions: Questions | None = None
    sweeps: tuple[SweepPoint, ...] = ()
    layers: tuple[LayerTimes, ...] = ()
    peaks: tuple[Peaks, ...] = ()
    counts: AgreementPair | None = None
    command: str = ""
    date: str = ""
    seed: int = SEED
    checkpoint_sha256: str = ""
