"""What cannot be exported, found before a model is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from compressor.errors import Checks, Problem, UsageError
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import Run
from exporters.graph.attention import FORMS
from exporters.graph.inputs import VARYING, Fixed, with_text_length
from exporters.graph.onnx import check_opset
from exporters.graph.precision import PRECISIONS
from exporters.graph.vision_split import check_splittable
from exporters.runtimes import RUNTIMES, find_runtimes
from exporters.runtimes.runtime import Runtime


def check_request(
    formats: Sequence[str],
    *,
    precision: str = "fp32",
    opset: int | None = None,
    attention: str | None = None,
    batch: tuple[int, int, int] = (1, 8, 32),
    fixed: Fixed = VARYING,
    split: bool = False,
) -> None:
    """Refuse what :func:`exporters.export.export` cannot be asked for, before a model is loaded.

    Raises:
        UsageError: everything that is wrong, at once.
    """
    checks, runtimes = Checks(), tuple[Runtime, ...]()
    with checks:
        runtimes = find_runtimes(formats, "--to", executes_files=True)
    plain = precision == "fp32" and fixed == VARYING and opset is None
    problems = [
        *_find_unknown(formats, precision, attention),
        *(problem for runtime in runtimes for problem in _find_unsupported(runtime, precision, attention)),
        *_find_impossible_sizes(batch, fixed),
        *(_find_unsplittable(runtimes, plain) if split else ()),
    ]
    with checks:
        if problems:
            raise UsageError(*problems)
    if precision in PRECISIONS:
        for form in {attention or runtime.attention for runtime in runtimes} & FORMS.keys():
            with checks:
                check_opset(opset, FORMS[form], PRECISIONS[precision])
    checks.raise_found()


def check_run(run: Run, fixed: Fixed, split: bool) -> None:
    """Refuse what the slim model of ``run`` cannot be exported as, before it is loaded.

    Raises:
        UsageError: everything that is wrong, at once.
    """
    checks, family = Checks(), FAMILIES[run.manifest.family]
    with checks:
        if split:
            check_splittable(family.name, family.rounds(family.dims_type(**run.manifest.dims)))
    with checks:
        with_text_length(family, run.samples(), fixed.text_length)
    checks.raise_found()


def _find_unknown(formats: Sequence[str], precision: str, attention: str | None) -> Iterator[Problem]:
    if not formats:
        names = [runtime.name for runtime in RUNTIMES if runtime.suffix]
        expected = f"at least one of: {', '.join(names)}"
        yield Problem("no-runtime-named", "no runtime to export for", expected, f"--to {names[0]}")
    if precision not in PRECISIONS:
        yield _unknown("unknown-precision", "precision", precision, PRECISIONS, "--precision fp32")
    if attention and attention not in FORMS:
        yield _unknown("unknown-attention", "attention", attention, FORMS, "leave --attention out")


def _unknown(code: str, what: str, name: str, known: Collection[str], fix: str) -> Problem:
    return Problem(code, f"{what} {name!r}", f"one of: {', '.join(known)}", fix)


def _find_unsupported(runtime: Runtime, precision: str, attention: str | None) -> Iterator[Problem]:
    if precision in PRECISIONS and precision not in runtime.precisions:
        found, expected = f"precision {precision!r} for {runtime.title}", f"one of: {', '.join(runtime.precisions)}"
        yield Problem("precision-not-supported", found, expected, "--precision fp32")
    if runtime.standard_operators and attention and attention in FORMS and not FORMS[attention].standard:
        found = f"attention {attention!r} for {runtime.title}, which knows no operators of ONNX Runtime"
        yield Problem("attention-not-standard", found, "standard operators", "--attention composed")


def _find_impossible_sizes(batch: tuple[int, int, int], fixed: Fixed) -> Iterator[Problem]:
    if not 1 <= batch[0] <= batch[1] <= batch[2]:
        found = f"batch {':'.join(str(size) for size in batch)}"
        yield Problem("batch-out-of-order", found, "smallest <= usual <= largest, from 1", "--batch 1:8:32")
    for option, size in (("--batch", fixed.batch), ("--text-length", fixed.text_length)):
        if size is not None and size < 1:
            yield Problem("size-too-small", f"{option} {size}", "at least 1", f"{option} 1")


def _find_unsplittable(runtimes: Sequence[Runtime], plain: bool) -> Iterator[Problem]:
    if not plain or not all(runtime.runs_split for runtime in runtimes):
        found = "--split with another runtime, a precision, a fixed size or an opset"
        expected = "--split alone: ONNX in fp32, any batch and text length, the exporter's opset"
        yield Problem("split-not-alone", found, expected, "two commands, one of them with --split")
