"""The faults, as their patches describe them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
HEADER = re.compile(r"Fault: (?P<sentence>.+)\nCaught by: (?P<tests>.+)\nSuite: (?P<suite>test|test-all)\n\n--- a/")


@dataclass(frozen=True)
class Fault:
    """A fault of one line.

    Attributes:
        path: of its patch.
        sentence: what is wrong.
        tests: arguments of pytest: the tests that catch it.
        suite: the one they belong to, ``test`` or ``test-all``.
        diff: the patch without its header.
    """

    path: Path
    sentence: str
    tests: tuple[str, ...]
    suite: str
    diff: str

    @property
    def name(self):
        """Number and name: ``07-drop-sign``."""
        return self.path.stem

    @property
    def file(self):
        """The file it changes, in the tree."""
        return self.diff.partition("\n")[0].removeprefix("--- a/")

    @property
    def marks(self):
        """Arguments of pytest that leave out what the suite does."""
        return ("-m", "not slow") if self.suite == "test" else ()


def read_fault(path):
    """Return the fault of a patch."""
    text = path.read_text(encoding="utf-8")
    header = HEADER.match(text)
    assert header, f"{path.name} does not begin with Fault:, Caught by: and Suite:"
    return Fault(
        path, header["sentence"], tuple(shlex.split(header["tests"])), header["suite"], text[header.end() - 6 :]
    )


def read_faults():
    """Return all faults, by number."""
    return [read_fault(path) for path in sorted(FOLDER.glob("*.patch"))]
