"""The house: imports point one way, help is instant, and docs/architecture.md agrees with the folders."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from compressor.families import FAMILIES

ROOT = Path(__file__).parents[1]
LEVELS = ("compressor", "exporters", "profiles", "das")
TERMINAL = {"typer", "rich", "click"}


def files():
    """Every file of the packages."""
    return [path for level in LEVELS for path in (ROOT / level).rglob("*.py")]


def imported(path):
    """What a file imports, anywhere in it, by its full name: ``torch``, ``torch.nn``, ``torch.nn.Linear``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_packages(path):
    """Top-level packages that a file imports, anywhere in it."""
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_imports_point_one_way(level):
    above = set(LEVELS[level + 1 :]) | {"tests", "benchmarks"}
    below_the_face = LEVELS[level] != "das"
    for path in (ROOT / LEVELS[level]).rglob("*.py"):
        found = imported_packages(path)
        assert not found & above, path
        assert not (below_the_face and found & TERMINAL), path


def test_nothing_in_the_compressor_knows_onnx():
    for path in (ROOT / "compressor").rglob("*.py"):
        assert not {"onnx", "onnxruntime", "tensorrt", "tensorrt_rtx"} & imported_packages(path), path


def test_no_modules_import_each_other():
    """Not in a longer circle either, and not inside a function or for type checking alone."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files()
    }
    graph = {}
    for module, path in modules.items():
        imports = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        graph[module] = imports & set(modules) - {module}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_one_name_one_file_and_a_dozen_files_a_folder():
    """But for the commands, which are named after what users type."""
    paths = [path for path in files() if path.name != "__init__.py" and path.parent.name != "commands"]
    names, folders = Counter(path.name for path in paths), Counter(path.parent for path in paths)
    assert [name for name, count in names.items() if count > 1] == []
    assert [folder for folder, count in folders.items() if count > 12] == []


def names_of_families(path):
    """Families that a file's code names, as a string of its own or by importing a module of theirs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and node.value in FAMILIES:
            yield node.value
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix("compressor.families.")
            if module != node.module and module not in ("family", "key_mapping"):
                yield module


def test_no_code_outside_the_families_names_one():
    """But for their sizes and layers, kept apart to be read without PyTorch, and the demo, which lists its models."""
    own = (ROOT / "compressor" / "families", ROOT / "compressor" / "architectures")
    demo = (ROOT / "das" / "demo", ROOT / "das" / "commands" / "demo.py")
    for path in files():
        if not any(path.is_relative_to(place) for place in (*own, *demo)):
            assert list(names_of_families(path)) == [], path


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from das.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'pyarrow', 'numpy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


def test_architecture_names_every_module_in_the_row_of_its_folder():
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    for path in files():
        folder = path.parent.relative_to(ROOT)
        rows = [line for line in lines if line.startswith(f"| `{folder}/` |")]
        assert len(rows) == 1, f"{folder}/ is not in docs/architecture.md"
        if not path.stem.startswith("__") and folder.name != "commands":
            assert f"`{path.stem}`" in rows[0].split(" | ")[2], f"{path.relative_to(ROOT)} is not there"


def test_tests_stand_where_the_code_is():
    for level in (*LEVELS, "benchmarks"):
        for path in (ROOT / "tests" / level).rglob("test_*.py"):
            assert (ROOT / path.parent.relative_to(ROOT / "tests")).is_dir(), path


def test_nothing_of_one_machine_is_committed():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        assert path.stat().st_size < 2_000_000 or name.startswith("tests/golden/"), f"{name} is too large"
