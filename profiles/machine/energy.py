"""Energy of a call, where a machine lets it be read: RAPL of the CPU, NVML of the GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compressor.values import Value
from exporters.gpu import first_gpu

POWERCAP = Path("/sys/class/powercap")


class EnergyPair(Value):
    """Joules of one call of the full and of the slim model, of all that ``meter`` sees, idle power included."""

    meter: str
    full: float
    slim: float


@dataclass(frozen=True)
class Meter:
    """A counter of joules; ``read`` gives all so far."""

    name: str
    read: Callable[[], float]


def find_meter(device: str, powercap: Path = POWERCAP) -> Meter | str:
    """Return the energy counter of ``device`` ("cpu" or "cuda"), or the reason that there is none."""
    return _nvml() if device == "cuda" else _rapl(powercap)


def _rapl(powercap: Path) -> Meter | str:
    """Return a counter of the CPU packages, whose registers wrap around at their range."""
    packages = sorted(powercap.glob("intel-rapl:?"))
    if not packages:
        return f"no RAPL counters in {powercap} (a virtual machine has none)"
    try:
        ranges = [int((package / "max_energy_range_uj").read_text()) for package in packages]
        last = [int((package / "energy_uj").read_text()) for package in packages]
    except OSError as error:
        return f"RAPL counters cannot be read ({error.strerror}): sudo chmod a+r {packages[0]}/energy_uj"
    spent = [0]

    def read() -> float:
        for number, package in enumerate(packages):
            now = int((package / "energy_uj").read_text())
            spent[0] += (now - last[number]) % (ranges[number] + 1)
            last[number] = now
        return spent[0] / 1e6

    return Meter(f"RAPL, {len(packages)} CPU package{'s' * (len(packages) > 1)}", read)


def _nvml() -> Meter | str:
    try:
        nvml, gpu = first_gpu()
        nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    except ImportError:
        return "NVML cannot be read without its Python package: pip install nvidia-ml-py"
    except Exception as error:  # NVML's own
        return f"NVML does not tell the energy of this GPU ({error})"
    return Meter("NVML, whole GPU", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3)
