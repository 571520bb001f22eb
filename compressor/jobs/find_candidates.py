"""The layers that a compression may skip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from compressor.checkpoints.recognise import Recognised
from compressor.checkpoints.sizes import sizes_that_fit
from compressor.errors import Problem, UsageError, usage_error
from compressor.families import FAMILIES, Family
from compressor.models.layer_parts import layer_of, part_of, parts_of_layers
from compressor.models.plan import match_layers, summarise
from compressor.models.rounds import steps_of
from compressor.search.option_rules import MERGED
from compressor.settings import HALF, Choice, Settings


def find_candidates(settings: Settings, checkpoint: Recognised, task: str) -> tuple[str, ...]:
    """Return what may be skipped: layers or parts that are named by hand, or the scope's; none where nothing is.

    Raises:
        UsageError: no such layers, fewer than are to be skipped, or of a family that cannot do without them so.
    """
    if settings.choice is Choice.NOTHING:
        return ()
    family = checkpoint.family
    with sizes_that_fit(checkpoint):
        dims = checkpoint.format.read_dims(checkpoint.state, checkpoint.checkpoint.config, task)
        rounds = family.rounds(dims)
    steps, parts = steps_of(rounds), {} if dims.parallel_width else parts_of_layers(rounds, family.parts)
    pool_of = {step.name: step.pool for step in steps if step.pool}
    layers = family.layer_order(tuple(pool_of))
    if settings.layers:
        named = match_layers(settings.layers, layers, family.layer_order(tuple(chain.from_iterable(parts.values()))))
        _check_named_once(named)
        _check_merging_maps(settings, family, named, pool_of)
        return named
    scope = settings.scope or next(iter(family.scopes))
    pools = family.scopes.get(scope)
    in_pools = {step.name for step in steps if step.pool in (pools or ())}
    candidates = tuple(name for name in layers if name in in_pools) if pools else match_layers(scope.split(","), layers)
    if settings.skip is not None and settings.skip > len(candidates):
        sizes = {name: sum(step.pool in pools for step in steps) for name, pools in family.scopes.items()}
        wider = [name for name, size in sizes.items() if size > len(candidates)]
        raise UsageError(
            Problem(
                "skip-too-large",
                f"--skip {settings.skip} of {len(candidates)} layers in scope {scope} ({summarise(candidates)})",
                f"at most {len(candidates)}",
                " or ".join((f"--skip {max(1, len(candidates) // 2)}", *(f"--scope {name}" for name in wider))),
            )
        )
    _check_merging_maps(settings, family, candidates, pool_of)
    if settings.balanced:
        _check_balance(settings, Counter(pool_of[name] for name in candidates))
    return _in_parts(candidates, parts, family) if settings.granularity == HALF else candidates


def _in_parts(layers: Sequence[str], parts: Mapping[str, tuple[str, ...]], family: Family) -> tuple[str, ...]:
    """Return the parts of layers, and layers that have none whole.

    Raises:
        UsageError: all stay whole.
    """
    if parts.keys().isdisjoint(layers):
        able = ", ".join(name for name, other in FAMILIES.items() if other.parts)
        raise usage_error(
            "layers-stay-whole",
            f"--granularity {HALF} for {summarise(layers)} of a {family.name}"
            + (" with parallel adapters beside its layers" if family.parts else ""),
            f"layers that can be skipped in part: those of {able}, without parallel adapters",
            "drop --granularity",
        )
    return tuple(chain.from_iterable(parts.get(layer, (layer,)) for layer in layers))


def _check_named_once(names: Sequence[str]) -> None:
    """Refuse a layer whose part is named, too.

    Raises:
        UsageError: it is.
    """
    for name in names:
        if part_of(name) and layer_of(name) in names:
            raise usage_error(
                "layer-named-twice",
                f"--layers names {layer_of(name)}, and its part {name}",
                "a layer, or parts of it",
                f"drop {name}",
            )


def _check_merging_maps(
    settings: Settings, family: Family, candidates: Sequence[str], pool_of: Mapping[str, str]
) -> None:
    """Refuse to merge into layers that end in a norm.

    Raises:
        UsageError: some of the candidates do.
    """
    closed = [name for name in candidates if pool_of[layer_of(name)] not in family.absorbers or part_of(name)]
    if settings.replace != MERGED or not closed:
        return
    open_ones = ",".join(f"{family.pool(name).prefix}*" for name in family.absorbers)
    takes = ", ".join(name for name, other in FAMILIES.items() if other.absorbers)
    raise usage_error(
        "layers-absorb-nothing",
        f"--replace {MERGED} for {summarise(closed)} of {family.name}: these layers end in a norm, through which a map"
        " cannot be moved",
        f"layers whose norms come first: {open_ones or f'those of {takes}'}",
        f"--scope {open_ones}" if open_ones else "--replace adapter, or none with --recover full",
    )


def _check_balance(settings: Settings, pools: Mapping[str, int]) -> None:
    """Refuse a lot that cannot take equally many layers of every pool, given the number of candidates in each."""
    skip, count, smallest = settings.skip or 0, len(pools), min(pools.values())
    told = ", ".join(f"{size} of {name}" for name, size in pools.items())
    if count == 1:
        found, expected, fix = f"--balanced with one pool alone: {told}", "layers of several pools", "drop --balanced"
    elif skip % count or skip > count * smallest:
        nearest = count * max(1, min(round(skip / count), smallest))
        found = f"--balanced --skip {skip}: the candidates are {told}"
        expected, fix = f"a multiple of {count}, at most {count * smallest}", f"--skip {nearest}, or drop --balanced"
    else:
        return
    raise usage_error("skip-not-balanced", found, expected, fix)
