"""Full against slim over a range of batches, text lengths, image sizes or CPU threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.errors import Problem, UsageError
from compressor.saved_run.run_folder import Run
from compressor.values import Value
from profiles.timing.latency import Latency
from profiles.timing.speedups import Speedup

BATCH, TEXT, IMAGE, THREADS = "batch", "text-length", "image-size", "threads"
UNITS = {BATCH: "samples", TEXT: "tokens", IMAGE: "pixels", THREADS: "threads"}
EXAMPLE = f"--sweep {BATCH}=1,8,32"


class SweepPoint(Value):
    """Full and slim in one runtime with one setting changed to ``value``, in turns."""

    axis: str
    value: int
    runtime: str
    full: Latency
    slim: Latency
    speedup: Speedup


@dataclass(frozen=True)
class Sweep:
    """The values that a setting goes through."""

    axis: str
    values: tuple[int, ...]


def parse_sweeps(texts: Sequence[str]) -> tuple[Sweep, ...]:
    """Read ``batch=1,8,32`` and the like.

    Raises:
        UsageError: everything that cannot be read.
    """
    sweeps: list[Sweep] = []
    problems: list[Problem] = []
    for text in texts:
        axis, _, values = text.partition("=")
        numbers = [part.strip() for part in values.split(",")]
        if axis not in UNITS or not all(number.isdigit() and int(number) > 0 for number in numbers):
            expected = f"NAME=NUMBER,NUMBER with a NAME of: {', '.join(UNITS)}"
            problems.append(Problem("wrong-sweep", f"--sweep {text}", expected, EXAMPLE))
            continue
        sweeps.append(Sweep(axis, tuple(dict.fromkeys(map(int, numbers)))))
    if problems:
        raise UsageError(*problems)
    return tuple(sweeps)


def check_sweeps(sweeps: Sequence[Sweep], run: Run) -> None:
    """Refuse values that the model of ``run`` cannot take.

    Raises:
        UsageError: naming all of them.
    """
    if problems := [problem for sweep in sweeps for problem in _impossible(sweep, run)]:
        raise UsageError(*problems)


def _impossible(sweep: Sweep, run: Run) -> list[Problem]:
    """Return problems for values that the run's model cannot take."""
    from compressor.families import FAMILIES

    family = FAMILIES[run.manifest.family]
    dims = family.dims_type(**run.manifest.dims)
    option = f"--sweep {sweep.axis}={','.join(map(str, sweep.values))}"
    if sweep.axis == TEXT and not dims.longest_text:
        return [Problem("text-length-without-texts", option, "a model that reads texts", f"drop {option}")]
    if sweep.axis == TEXT and not family.masks_texts:
        return [
            Problem(
                "text-length-fixed",
                option,
                f"the {dims.text_length} tokens that it was trained with: nothing masks padding, which it reads, too",
                f"drop {option}",
            )
        ]
    if sweep.axis == TEXT and max(sweep.values) > dims.text_length:
        return [
            Problem(
                "text-length-impossible",
                option,
                f"at most {dims.text_length} tokens",
                f"--sweep {TEXT}={dims.text_length}",
            )
        ]
    if sweep.axis != IMAGE:
        return []
    sides = family.image_transform(dims).sides if family.image_transform else None
    if sides is None or sides[0] == sides[1]:
        sizes = f"images of {sides[1]} pixels alone" if sides else "no images"
        return [
            Problem(
                "image-size-fixed", option, f"a model that takes images of any size; this one takes {sizes}", EXAMPLE
            )
        ]
    if any(side % dims.patch or not sides[0] <= side <= sides[1] for side in sweep.values):
        expected = f"multiples of {dims.patch} from {sides[0]} to {sides[1]}"
        return [Problem("image-size-impossible", option, expected, f"--sweep {IMAGE}={sides[1]}")]
    return []
