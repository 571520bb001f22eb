"""The registry of families: the shipped ones, and those that other packages register."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

from compressor.errors import Problem
from compressor.families.family import Family
from compressor.families.plugins import Plugins, find_families


class Registry(MutableMapping[str, Family]):
    """Families by name.

    Other packages are asked when a name is looked up that is not known yet, or all are listed: a process that works
    with a shipped family imports no other package, and a package may import das before das imports the package.
    """

    def __init__(self, shipped: Iterable[Family]) -> None:
        self._known = {family.name: family for family in shipped}
        self._plugins: Plugins | None = None

    def ask_packages(self) -> Plugins:
        """Return what other packages register, which is looked for once in a process."""
        if self._plugins is None:
            self._plugins = Plugins({}, {}, ())  # of a package that looks a family up while it is imported
            self._plugins = find_families(self._known.values())
            self._known |= self._plugins.families
        return self._plugins

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why families of other packages are left out."""
        return self.ask_packages().problems

    def package_of(self, name: str) -> dict[str, str]:
        """Return name and version of the package that registers a family, as one entry; none of a shipped one."""
        return dict([self._plugins.packages[name]]) if self._plugins and name in self._plugins.packages else {}

    def __getitem__(self, name: str) -> Family:
        if name not in self._known:
            self.ask_packages()
        return self._known[name]

    def __setitem__(self, name: str, family: Family) -> None:
        self._known[name] = family

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        self.ask_packages()
        return iter(self._known)

    def __len__(self) -> int:
        self.ask_packages()
        return len(self._known)
