"""Families of other packages: found by their entry points, and what is wrong with those that cannot be used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from compressor.errors import Problem, first_line
from compressor.families.family import Family
from compressor.models.rounds import steps_of

GROUP = "das.families"
"""The entry points; each is a :class:`Family` or a sequence of them."""


@dataclass(frozen=True)
class Plugins:
    """What other packages register.

    Attributes:
        families: by name.
        packages: name and version of the package that a family is from, by the family's name.
        problems: why others are left out.
    """

    families: Mapping[str, Family]
    packages: Mapping[str, tuple[str, str]]
    problems: tuple[Problem, ...]


def find_families(shipped: Collection[Family]) -> Plugins:
    """Return the families of all installed packages; one that cannot be used leaves the others as they are.

    Args:
        shipped: those of das, whose names and formats are taken.
    """
    found: list[tuple[EntryPoint, Family]] = []
    problems: list[Problem] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (*_package(entry), entry.name)):
        try:
            found += [(entry, family) for family in _load(entry)]
        except (Exception, SystemExit) as error:  # whatever the other package's code does
            problems.append(_broken(entry, f"{type(error).__name__}: {first_line(error)}"))
    taken = Counter(claim for family in (*shipped, *(family for _, family in found)) for claim in _claims(family))
    sound: dict[str, tuple[EntryPoint, Family]] = {}
    for entry, family in found:
        if shared := [claim for claim in _claims(family) if taken[claim] > 1]:
            problems.append(_clash(entry, family, shared))
        else:
            sound[family.name] = entry, family
    return Plugins(
        families={name: family for name, (_, family) in sound.items()},
        packages={name: _package(entry) for name, (entry, _) in sound.items()},
        problems=tuple(problems),
    )


def _load(entry: EntryPoint) -> Sequence[Family]:
    """Return the families of an entry point.

    Raises:
        TypeError: it is something else.
        ValueError: a declaration that contradicts itself.
    """
    value = entry.load()
    families = tuple(value) if isinstance(value, Sequence) else (value,)
    for family in families:
        if not isinstance(family, Family):
            raise TypeError(f"of type {type(family).__name__}, not Family")
        if faults := list(find_faults(family)):
            raise ValueError(f"{family.name}: {'; '.join(faults)}")
    return families


def find_faults(family: Family) -> Iterator[str]:
    """Yield what contradicts itself in a declaration, as far as sizes show it; no model is built."""
    dims = family.dims_type()
    steps, prefixes = steps_of(family.rounds(dims)), {pool.name: pool.prefix for pool in family.pools}
    for name, count in Counter(step.name for step in steps).items():
        if count > 1:
            yield f"{count} steps are called {name}"
    for step in steps:
        if step.pool is not None and not re.fullmatch(rf"{prefixes.get(step.pool, '')}\d+", step.name):
            yield f"the step {step.name} is no layer of a pool ({step.pool} of {', '.join(prefixes)})"
    for name, pools in family.scopes.items():
        if unknown := {*pools} - {*prefixes}:
            yield f"the scope {name} has no such pool: {', '.join(sorted(unknown))}"
    made = {*(name for names in family.streams.values() for name in names), *(n for s in steps for n in s.writes)}
    if unknown := {name for task in family.heads for name in family.readout(dims, task)} - made:
        yield f"the readout names streams that nothing makes: {', '.join(sorted(unknown))}"
    if not family.formats:
        yield "no format of checkpoints"
    if not family.heads:
        yield "no task of das has a head for its outputs"


def _claims(family: Family) -> list[str]:
    """Return what no other family may have: a name, and by what checkpoints are told apart."""
    formats = [f"checkpoints of model_type {format.model_type} with {format.signature[0]}" for format in family.formats]
    return [f"the name {family.name}", *formats]


def _package(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("(no package)", "")


def _broken(entry: EntryPoint, why: str) -> Problem:
    package, _ = _package(entry)
    return Problem(
        "family-broken",
        f"the package {package} registers a family that cannot be used, {entry.name} = {entry.value} ({why})",
        "a Family, or a sequence of them, as docs/add-a-family.md says",
        f"correct it, or pip uninstall {package}; other families are not concerned",
    )


def _clash(entry: EntryPoint, family: Family, shared: Sequence[str]) -> Problem:
    package, _ = _package(entry)
    return Problem(
        "family-clash",
        f"the package {package} registers the family {family.name}, and {' and '.join(shared)} is taken",
        "one family of a name, and one that reads a checkpoint",
        f"rename it in {package}, or pip uninstall it",
    )
