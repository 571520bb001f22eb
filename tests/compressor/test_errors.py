"""Every problem has a code that programs can hold on to."""

import ast
import re
from pathlib import Path

import pytest

from compressor.errors import (
    CheckFailed,
    DasError,
    EnvironmentProblem,
    InputError,
    Problem,
    UsageError,
    first_line,
    input_error,
    shorten,
)
from tests.support.command_line import refused

ROOT = Path(__file__).parents[2]
FOLDERS = ("compressor", "exporters", "profiles", "das", "benchmarks")
KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def functions(tree, inside=()):
    """Every node, with the names of the functions around it that are given a code."""
    for child in ast.iter_child_nodes(tree):
        yield child, inside
        around = inside
        if isinstance(child, ast.FunctionDef):
            around = (child.name,) if child.args.args and child.args.args[0].arg == "code" else ()
        yield from functions(child, around)


SOURCES = {
    path.relative_to(ROOT): ast.parse(path.read_text()) for name in FOLDERS for path in (ROOT / name).rglob("*.py")
}


def forwarders(tree):
    """Names of the functions of a file that are given a code."""
    defined = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.args.args)
    return {node.name for node in defined if node.args.args[0].arg == "code"}


def kinds(tree):
    """Names of the classes of a file whose first field is a code: values that problems are made of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            first = next((field for field in node.body if isinstance(field, ast.AnnAssign)), None)
            if first and ast.unparse(first.target) == "code":
                yield node.name


KINDS = {name for tree in SOURCES.values() for name in kinds(tree)}
SHARED = {name for tree in SOURCES.values() for name in forwarders(tree) if not name.startswith("_")}


def calls():
    """File, line, what stands first, and whether a function around passes its own code on."""
    for path, tree in SOURCES.items():
        makers = KINDS | SHARED | forwarders(tree)
        for node, inside in functions(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in makers:
                if not node.args and [keyword.arg for keyword in node.keywords] == [None]:
                    continue  # Problem(**found): one that another process made
                named = (keyword.value for keyword in node.keywords if keyword.arg == "code")
                first = node.args[0] if node.args else next(named, None)
                yield f"{path}:{node.lineno}", first, bool(inside)


def test_every_problem_is_made_with_a_code():
    found = list(calls())
    assert len(found) > 200
    for place, first, forwards in found:
        if isinstance(first, ast.Name):
            assert first.id == "code" and forwards, f"{place}: a code has to be written out"
        elif isinstance(first, ast.Attribute):
            assert first.attr == "code", f"{place}: a code has to be written out"  # that of a kind, where it is made
        else:
            assert isinstance(first, ast.Constant) and isinstance(first.value, str), f"{place}: no code"
            assert KEBAB.fullmatch(first.value) and len(first.value) <= 32, f"{place}: {first.value}"


def test_an_error_tells_the_codes_of_all_its_problems():
    error = InputError(Problem("one-thing", "a", "b", "c"), Problem("another", "d", "e", "f"))
    assert error.codes == ("one-thing", "another")
    assert DasError().codes == ()
    assert str(error).startswith("found:    a\nexpected: b\nfix:      c\nfound:    d")


def test_refused_wants_the_code_and_the_values():
    with refused(InputError, "table-empty", "x.arrow"):
        raise input_error("table-empty", "x.arrow has no rows", "some", "write some")
    for code, value in (("table-missing", "x.arrow"), ("table-empty", "y.arrow")):
        with pytest.raises(AssertionError), refused(InputError, code, value):
            raise input_error("table-empty", "x.arrow has no rows", "some", "write some")


def test_a_long_list_is_cut_and_what_is_left_is_counted():
    assert shorten(["a", "b", "c", "d"]) == "a, b, c, d"
    assert shorten(["a", "b", "c", "d"], 2, "; ") == "a; b and 2 more"
    assert shorten([]) == ""


@pytest.mark.parametrize(
    ("said", "first"),
    [
        ("one\ntwo", "one"),
        ("", "ValueError"),
        ("x" * 300, "x" * 200),
        ("load it unsafely\nWeightsUnpickler error: Unsupported operand 118\nmore", "Unsupported operand 118"),
    ],
)
def test_of_an_error_of_a_library_the_first_line_is_said(said, first):
    assert first_line(ValueError(said)) == first


def test_exit_codes_are_those_of_the_contract():
    codes = {UsageError: 2, InputError: 3, CheckFailed: 4, EnvironmentProblem: 5}
    assert {kind: kind.exit_code for kind in codes} == codes
