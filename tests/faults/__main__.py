"""Apply the faults one by one to a copy of the tree, and tell which test catches each: ``python -m tests.faults``.

Exit code 1 where one escapes.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import import_module
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from tests.faults.patches import ROOT, read_faults

PYTEST = ("-x", "-q", "-p", "no:cacheprovider")
MAKE_TEST = ("-m", "not slow", "-n", "auto", "--dist", "worksteal", "--ignore", "tests/faults")
MODELS = ("bert", "clip", "roberta", "vilt")
LIBRARIES = (
    *("hypothesis", "onnx", "onnxruntime", "pyarrow", "pydantic", "pytest", "rich", "torch.onnx", "typer"),
    *(f"transformers.models.{model}.modeling_{model}" for model in MODELS),
)
"""Loaded once: every run of tests is a fork, which has them already."""
STAMPS = count(int(time.time()))


def parse_arguments(known):
    """Return the options; names are checked."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults, as 07-drop-sign; all without any")
    parser.add_argument("--all-tests", action="store_true", help="run make test on what the named tests let pass")
    options = parser.parse_args()
    if unknown := set(options.names) - known:
        parser.error(f"no fault is named {', '.join(sorted(unknown))}")
    return options


def copy_tree(folder):
    """Copy the tracked files, as they are now, to ``folder``."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def patch(tree, fault, *options):
    """Apply the patch of a fault to the tree, or with ``--reverse`` take it back.

    The file's time is another one each time: bytecode of the line before, which may be as long, is out of date.
    """
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}  # the copy is in no repository
    subprocess.run(["git", "apply", *options, fault.path], cwd=tree, env=environment, check=True)
    stamp = next(STAMPS)
    os.utime(tree / fault.file, (stamp, stamp))


def run_pytest(tree, arguments, output):
    """Become a run of pytest in the tree that writes to ``output``."""
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # these are the ones of the working tree
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:] = [str(tree), *(place for place in sys.path if Path(place).resolve() not in (ROOT, tree))]
    status = 1
    try:
        status = int(import_module("pytest").main([*PYTEST, *arguments]))
    finally:
        os._exit(status)


def first_failure(tree, arguments):
    """Run tests up to the first that fails; return its name, "" where all pass."""
    with TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            run_pytest(tree, arguments, output.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        said = output.read()
    if status not in (0, 1):
        sys.exit(f"pytest {' '.join(arguments)} ended with {status}:\n{said[-2000:]}")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", said, re.MULTILINE)
    return failed[1] if failed else "?" * status


def catch(tree, fault, all_tests):
    """Return the test that catches a fault, "" where none does."""
    patch(tree, fault)
    try:
        failed = first_failure(tree, (*fault.marks, *fault.tests))
        return failed or (first_failure(tree, MAKE_TEST) if all_tests else "")
    finally:
        patch(tree, fault, "--reverse")


def main():
    """Print a table of the faults and what caught them; return how many escaped."""
    faults = read_faults()
    options = parse_arguments({fault.name for fault in faults})
    faults = [fault for fault in faults if not options.names or fault.name in options.names]
    rows, start = [], time.monotonic()
    for library in LIBRARIES:
        import_module(library)
    with TemporaryDirectory(prefix="das-faults-") as folder:
        tree = Path(folder).resolve() / "tree"
        copy_tree(tree)
        for suite in {fault.suite for fault in faults}:
            members = [fault for fault in faults if fault.suite == suite]
            print(f"the tests of {len(members)} faults, without any fault", file=sys.stderr, flush=True)
            tests = dict.fromkeys(test for fault in members for test in fault.tests)
            if failed := first_failure(tree, (*members[0].marks, *tests)):
                sys.exit(f"{failed} fails without any fault")
        for number, fault in enumerate(faults, 1):
            before = time.monotonic()
            failed = catch(tree, fault, options.all_tests)
            rows.append((fault.name, failed or "ESCAPED", f"{time.monotonic() - before:.0f} s"))
            print(f"{number}/{len(faults)} " + "  ".join(rows[-1]), file=sys.stderr, flush=True)
    width = max(len(name) for name, *_ in rows)
    for name, caught, seconds in rows:
        print(f"{name:<{width}}  {seconds:>5}  {caught}")
    escaped = sum(caught == "ESCAPED" for _, caught, _ in rows)
    print(f"{len(rows) - escaped} of {len(rows)} faults caught, in {time.monotonic() - start:.0f} s")
    return escaped


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
