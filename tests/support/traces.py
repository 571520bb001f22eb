"""Traces that all tests share: PyTorch's exporter takes seconds for one, and most tests trace the same small models."""

import shutil
from collections.abc import Mapping
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from types import FunctionType, SimpleNamespace

import torch

from tests.support.once import begun, once

EXPORT = torch.onnx.export


class Program:
    """What the exporter makes of a module, as far as it is used: it can be saved, or an earlier file of it copied."""

    model = SimpleNamespace(graph=SimpleNamespace(initializers={}))  # no weights to be made ready for a file

    def __init__(self, name, trace):
        self.name, self.trace = name, trace

    def save(self, path, external_data=False):
        path = Path(path)
        name = f"{self.name}-{external_data}-{path.name}"
        saved = once(name, lambda folder: self.trace().save(folder / path.name, external_data=external_data))
        for file in saved.iterdir():
            shutil.copyfile(file, path.with_name(file.name))


def export(module, inputs, path=None, **options):
    """Stand for :func:`torch.onnx.export`: the same module, with inputs of the same sizes, is traced once."""
    name = f"trace-{digest(module, [(x.shape, x.dtype) for x in inputs], options)}"
    trace = cache(partial(EXPORT, module, inputs, **options))
    if not begun(name):
        trace()  # here, not when it is saved, a module is refused that cannot be traced
    program = Program(name, trace)
    if path is not None:
        program.save(path)
    return program


def digest(*values):
    """Return a name that equal values have in every process: modules are equal that have the same parts."""
    total = sha256()
    for part in parts_of(values):
        total.update(part if isinstance(part, bytes) else repr(part).encode())
    return total.hexdigest()[:20]


def parts_of(value):
    """Yield everything that a value is made of: numbers, texts, and the bytes of tensors."""
    if isinstance(value, torch.Tensor):
        yield from (
            value.shape,
            value.dtype,
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
        )
    elif isinstance(value, FunctionType):
        yield value.__qualname__
        yield from parts_of([cell.cell_contents for cell in value.__closure__ or ()])
    elif isinstance(value, Mapping):
        yield from parts_of(list(value.items()))
    elif isinstance(value, set | frozenset):
        yield sorted(value)
    elif isinstance(value, list | tuple):
        yield len(value)
        for entry in value:
            yield from parts_of(entry)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield type(value).__qualname__
        yield from parts_of(vars(value))
    else:
        yield value
