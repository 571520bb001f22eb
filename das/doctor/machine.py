"""Check installed packages and devices, and suggest fixes."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from das.doctor.health import Item
from exporters.runtimes import RUNTIMES

OURS = "das-toolkit"
NEEDED = ("torch", "transformers", "onnx")  # by everything that is looked at behind the packages
SHOWN = (*NEEDED, "fvcore")  # with their versions; of the others only what is wrong


def check_machine() -> tuple[Item, ...]:
    """Look at the machine, at packages, and at what every runtime needs."""
    items = (_machine(), _das(), _python(), *_packages())
    if not can_look_further():
        return items
    items += tuple(_families())
    probes = (probe for runtime in RUNTIMES for probe in runtime.probe())
    return *items, *(Item(name=probe.name, ok=probe.ok, found=probe.found, fix=probe.fix) for probe in probes)


def _families() -> Iterator[Item]:
    """Yield the packages that register families, and what is wrong with those of which some are left out."""
    from compressor.families import FAMILIES

    plugins = FAMILIES.ask_packages()
    for name, (package, version_of_it) in plugins.packages.items():
        yield Item(name=f"family {name}", ok=True, found=f"registered by {package} {version_of_it}")
    for problem in plugins.problems:
        yield Item(name="family", ok=False, found=problem.found, fix=problem.fix)


def can_look_further() -> bool:
    """Return whether the packages are here that models and runtimes are looked at with."""
    return all(map(_version, NEEDED))


def _machine() -> Item:
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(".")
    description = (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory.available >> 30} of {memory.total >> 30} GiB of memory "
        f"free, {disk.free >> 30} of {disk.total >> 30} GiB of this disk"
    )
    return Item(name="machine", ok=True, found=description)


def _das() -> Item:
    return Item(name="das", ok=True, found=_version(OURS) or "run from its sources, not installed")


def _python() -> Item:
    return Item(name="python", ok=True, found=platform.python_version())


def _packages() -> Iterator[Item]:
    """Yield the main packages, and of the others those whose version das does not support."""
    declared = (requires(OURS) if _version(OURS) else None) or ()  # none where das runs from its sources
    ranges = {requirement.name: requirement.specifier for requirement in map(Requirement, declared)}
    for name in (*SHOWN, *(name for name in ranges if name not in SHOWN)):
        installed, specifier = _version(name), ranges.get(name, SpecifierSet())
        fits = installed is not None and specifier.contains(installed, prereleases=True)
        if installed is not None and not fits:
            yield Item(
                name=name, ok=False, found=f"{installed}, not {specifier}", fix=f"pip install '{name}{specifier}'"
            )
        elif name in SHOWN:
            fix = None if fits else f"pip install {OURS}"
            yield Item(name=name, ok=fits, found=installed or "not installed", fix=fix)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
