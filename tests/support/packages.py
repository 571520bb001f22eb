"""Packages of others as pip leaves them, on the path of this process and of its children."""

import importlib
import os
from contextlib import contextmanager

import pytest

from compressor.families import FAMILIES
from compressor.families.registry import Registry


def write_package(folder, name, code, entries, version="0.1"):
    """Write a package of one module, and the entry points that it registers under das.families."""
    module, dist = name.replace("-", "_"), folder / f"{name.replace('-', '_')}-{version}.dist-info"
    dist.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = "".join(f"{key} = {value}\n" for key, value in entries.items())
    (dist / "entry_points.txt").write_text(f"[das.families]\n{points}")


@contextmanager
def installed(folder):
    """Have the packages in ``folder`` on the path, and families as a new process knows them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        new = Registry(family for name, family in FAMILIES._known.items() if not FAMILIES.package_of(name))
        patch.setattr(FAMILIES, "_known", new._known)
        patch.setattr(FAMILIES, "_plugins", None)
        importlib.invalidate_caches()
        yield
