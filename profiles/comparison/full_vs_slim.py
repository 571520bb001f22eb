"""The profile of full against slim, as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.costs.model_costs import Pair, Trims
from compressor.values import Value
from exporters.checks.records import MetricChange
from profiles.machine.conditions import Conditions
from profiles.machine.energy import EnergyPair
from profiles.machine.environment import Environment
from profiles.machine.memory import Memory
from profiles.macs.agreement import Agreement
from profiles.timing.latency import Latency
from profiles.timing.layer_times import LayerTimes
from profiles.timing.roofline import Peaks
from profiles.timing.shared_image import Questions
from profiles.timing.speedups import SEED, Speedup
from profiles.timing.sweeps import SweepPoint

SCHEMA_VERSION = 3
PROFILE = "profile.json"  # a ProfileReport in a run's folder
NOT_EXPORTED = "not exported"  # why a precision is not in a profile


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


class Scores(Value):
    """Scores of full and slim as they are executed, against the full model in PyTorch on the same samples.

    None where no sample has a score of its own, or was scored on other samples.
    """

    full: MetricChange | None
    slim: MetricChange | None


class Answers(Value):
    """What a runtime and a precision alone cost: against the same model in PyTorch and fp32, on the same samples.

    ``change`` is that of the score, None where samples have none; ``agreement`` the share of equal answers, None where
    there is one logit.
    """

    change: MetricChange | None
    agreement: float | None


class AnswersPair(Value):
    """What a runtime and its first precision cost of the answers of full and of slim; None where nobody compared."""

    full: Answers | None
    slim: Answers | None


class Variant(Value):
    """One model in one precision, timed in turns with the others of a runtime.

    ``which`` is "full" or "slim", ``speedup`` that over the full model in the runtime's first precision, None of
    itself; all else as in a :class:`RuntimeProfile`. ``joules`` are those of a call.
    """

    which: str
    precision: str
    latency: Latency
    file_bytes: int
    speedup: Speedup | None
    score: MetricChange | None = None
    answers: Answers | None = None
    memory: Memory | None = None
    started: Started | None = None
    joules: float | None = None

    @property
    def name(self) -> str:
        """Return which model it is, and in which precision."""
        return f"{self.which} {self.precision}"


class RuntimeProfile(Value):
    """Full against slim in one runtime and its first ``precision``, fp32 where it has that; each in its own process.

    ``file_bytes`` are the exported files where it executes those, else the weights. ``conditions`` are those of the
    machine during the timing, ``remark`` their caveats. ``others`` are the models in further precisions, in turns with
    these. Quantities that were not measured are None.
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
    precision: str = "fp32"
    scores: Scores | None = None
    answers: AnswersPair | None = None
    others: tuple[Variant, ...] = ()

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Return full and slim in every precision: the full ones first."""
        return tuple(sorted((*self._pair(), *self.others), key=lambda variant: variant.which))

    def _pair(self) -> Iterator[Variant]:
        for which in ("full", "slim"):
            yield Variant(
                which=which,
                precision=self.precision,
                latency=getattr(self, which),
                file_bytes=getattr(self.file_bytes, which),
                speedup=self.speedup if which == "slim" else None,
                score=getattr(self.scores, which, None),
                answers=getattr(self.answers, which, None),
                memory=getattr(self.memory, which, None),
                started=getattr(self.started, which, None),
                joules=getattr(self.energy, which, None),
            )


class NotMeasured(Value):
    """Something a reader may look for in the report, and why it is not there."""

    what: str
    why: str


class Way(Value):
    """Slim in the best precision of one runtime, timed in turns with those of the others.

    ``slower`` says how many times faster the fastest of them is, None of itself.
    """

    runtime: str
    precision: str
    latency: Latency
    slower: Speedup | None


class Fastest(Value):
    """The fastest way to run the slim model on this machine, of all that a profile measured.

    Attributes:
        runtime, precision, file: that it is; the name of the file is empty where the runtime executes the model itself.
        p50_ms: of a call.
        ways: the best precision of each runtime, the fastest first, in turns; one where one runtime was measured.
        cut: slim over full in this runtime and precision, in turns; None where full does not pass in it.
        score: of slim, against the full model in PyTorch; None where samples have no score.
        answers: what runtime and precision cost; None where nobody compared.
        passed_over: ways that cost more of the answers than is allowed: the faster ones of a runtime that has a better
            one, and all of one that has none.
    """

    runtime: str
    precision: str
    file: str
    p50_ms: float
    ways: tuple[Way, ...]
    cut: Speedup | None
    score: MetricChange | None
    answers: Answers | None
    passed_over: tuple[NotMeasured, ...] = ()


class AgreementPair(Value):
    """The three counts of MACs of the full and of the slim model."""

    full: Agreement
    slim: Agreement


class ProfileReport(Value):
    """Full against slim, measured in turns on one machine.

    MACs are of one sample; 1 MAC = 2 FLOPs. ``uncounted`` gives the calls of operators that are not in them. The slim
    model is the one with its exact ``trims``. A sample has texts of ``text_length`` tokens, and images of
    ``image_size``, height and width in pixels; ``scored`` is the number of samples of the scores.
    ``fastest`` is there where runtimes or precisions were asked for.
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
    text_length: int | None = None
    image_size: tuple[int, int] | None = None
    scored: int | None = None
    seconds: float
    macs: Pair
    macs_by_pool: dict[str, Pair]
    trims: Trims
    uncounted: dict[str, Pair]
    parameters: Pair
    parameters_by_pool: dict[str, Pair]
    runtimes: tuple[RuntimeProfile, ...]
    fastest: Fastest | None = None
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
