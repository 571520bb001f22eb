"""The tensors of a slim model under transformers' names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain

from torch import nn

from compressor.errors import InputError, input_error
from compressor.families import FAMILIES
from compressor.families.key_mapping import Format, State
from compressor.models.adapters import Adapter
from compressor.models.layer_parts import part_of
from compressor.models.plan import summarise
from compressor.models.steps import StepModel, steps_of

NUMBER = "{i}"


@dataclass(frozen=True)
class Adapters:
    """Where a slim model has adapters, in transformers' words; fields of ``das_adapters`` in config.json.

    Attributes:
        layers: path of the model's list of layers.
        in_place_of: number of a skipped layer to the bottleneck of its adapter, 0 where nothing is in its place.
        beside: bottlenecks of the adapters of each kept layer, in the order that they are computed in.
    """

    layers: str
    in_place_of: dict[str, int]
    beside: tuple[int, ...]


@dataclass(frozen=True)
class SlimTensors:
    """A slim model as transformers stores it.

    Attributes:
        state: tensors by name.
        layers: numbers that the layers which are left had in the full model.
        adapters: where its adapters are, or nothing stands in place of a layer; None where there is no such place, and
            the layers are numbered anew.
    """

    state: State
    layers: tuple[int, ...]
    adapters: Adapters | None


def find_format(family: str, task: str) -> Format:
    """Return the format in which transformers stores models of a family with the head of a task.

    Raises:
        InputError: the library has no class for them.
    """
    for format in FAMILIES[family].formats:
        if format.library and format.architecture(task):
            return format
    raise _no_class(family, task)


def _no_class(family: str, task: str) -> InputError:
    return input_error(
        "no-class-in-transformers",
        f"a run of {family} for {task}: transformers has no class for that",
        "a model that transformers can load",
        "das export RUN --onnx for a file that needs no das, or das.load(RUN) for PyTorch",
    )


def name_tensors(slim: StepModel, format: Format) -> SlimTensors:
    """Return the tensors of a slim model, before any exact trim, under the names of ``format``.

    Skip adapters that all leave their streams as they are count as none. Places of layers stay, with nothing in them,
    where the library's class cannot do without them.

    Raises:
        InputError: adapters have no place in the library's class, or parts of layers are gone.
    """
    assert format.library
    if halves := [name for name in slim.skipped if part_of(name)]:
        raise input_error(
            "halves-have-no-place",
            f"a run without {summarise(halves)}: transformers has no class for layers with a part alone",
            "a run without whole layers",
            "das export RUN --onnx for a file that needs no das, or das.load(RUN) for PyTorch",
        )
    order = [step.name for step in steps_of(slim.rounds) if step.pool]
    kept = tuple(number for number, name in enumerate(order) if name in slim.layers)
    skips = {number: slim.blocks[name] for number, name in enumerate(order) if name in slim.skipped}
    beside = _bottlenecks(slim.blocks[order[kept[0]]]) if kept else ()
    table = format.table(slim.task)
    rest = format.library.fit_state(_without_blocks(slim, slim.skipped), slim.dims)
    idle = not beside and all(_is_idle(block) for block in skips.values())
    if idle and format.library.keeps(slim.dims, kept):
        places = _new_places(slim, [order[old] for old in kept])
        return SlimTensors(table.to_checkpoint(_renumber(rest, places)), kept, None)
    if not format.library.places:
        raise _no_places(slim.family)
    path = _path_of_layers(format)
    state = table.to_checkpoint(rest)
    for number, block in skips.items():
        state |= {f"{path}.{number}.{name}": value for name, value in block.state_dict().items()}
    widths = {str(number): sum(_bottlenecks(block)) for number, block in skips.items()}
    return SlimTensors(state, kept, Adapters(path, widths, beside))


def _no_places(family: str) -> InputError:
    return input_error(
        "adapters-have-no-place",
        f"a run of {family} with adapters: transformers has no list of layers in which each has a place of its own, or"
        " it has two",
        "a run without adapters",
        "compress with --recover full --replace none, or das export RUN --onnx",
    )


def _bottlenecks(block: nn.Module) -> tuple[int, ...]:
    return tuple(module.width for module in block.modules() if isinstance(module, Adapter))


def _is_idle(block: nn.Module) -> bool:
    return all(module.idle for module in block.modules() if isinstance(module, Adapter))


def _without_blocks(model: StepModel, names: Collection[str]) -> State:
    """Return the model's tensors but for those of the blocks ``names``."""
    gone = tuple(f"blocks.{name}." for name in names)
    return {name: value for name, value in model.state_dict().items() if not name.startswith(gone)}


def _new_places(slim: StepModel, kept: Collection[str]) -> dict[str, str]:
    """Return the new name of each layer that is kept: those of a pool are numbered from its first."""
    pools: dict[str, list[str]] = {}
    for step in steps_of(slim.rounds):
        if step.pool:
            pools.setdefault(step.pool, []).append(step.name)
    renamed = (zip([name for name in names if name in kept], names, strict=False) for names in pools.values())
    return dict(chain.from_iterable(renamed))


def _renumber(state: State, places: Mapping[str, str]) -> State:
    """Return ``state`` with the blocks called by other names."""
    renamed: State = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        block, _, rest = rest.partition(".")
        moved = f"blocks.{places[block]}.{rest}" if kind == "blocks" and block in places else name
        renamed[moved] = value
    return renamed


def _path_of_layers(format: Format) -> str:
    """Return the path of the list of layers, "bert.encoder.layer": what stands before their numbers in the keys."""
    sources = [source for source, target in format.keys.renames if target.startswith("blocks.") and NUMBER in source]
    return sources[0].partition(f".{NUMBER}")[0]
