"""Progress: bars on a terminal, lines for a log without one."""

import io
import re
import time

import pytest
from rich.console import Console

from compressor.progress import describe_seconds
from das import terminal


@pytest.fixture
def log(monkeypatch):
    """What is written where there is no terminal; each minute is as short as can be."""
    console = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(terminal, "err_console", console)
    monkeypatch.setattr(terminal, "TELL_EVERY", 1e-3)
    return console.file


@pytest.fixture
def said(log):
    """Waits until a line that matches a pattern was written."""

    def wait(text):
        for _ in range(10_000):
            if re.search(text, log.getvalue()):
                return
            time.sleep(1e-3)
        pytest.fail(f"{text} is not in: {log.getvalue()}")

    return wait


def test_a_bar_is_drawn_on_a_terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(terminal, "err_console", console)
    with terminal.progress().bar("Searching 12 layers", 2) as bar:
        bar.advance()
        bar.advance()
    drawn = console.file.getvalue()
    assert "Searching 12 layers" in drawn and "2/2" in drawn


def test_a_log_has_a_line_where_something_begins_and_one_each_minute(log, said):
    with terminal.progress().bar("Recovering 8 adapters", 9470) as bar:
        said("Recovering 8 adapters: 0 s so far")
        for _ in range(120):
            bar.advance()
        said("Recovering 8 adapters: 120 of 9,470, about .* left")
    assert log.getvalue().startswith("Recovering 8 adapters ...\n")
    assert "done" not in log.getvalue()


def test_what_took_long_is_told_with_its_seconds(log, monkeypatch):
    monkeypatch.setattr(terminal, "WORTH_TELLING", 0.0)
    with terminal.progress().stage("Saving the run"):
        pass
    assert list(terminal.progress().track(range(3), "Scoring", 3)) == [0, 1, 2]
    lines = [line for line in log.getvalue().splitlines() if "so far" not in line and "left" not in line]
    assert lines == ["Saving the run ...", "Saving the run: done in 0 s", "Scoring ...", "Scoring: done in 0 s"]


def test_what_fails_is_not_told_to_be_done(log, monkeypatch):
    monkeypatch.setattr(terminal, "WORTH_TELLING", 0.0)
    with pytest.raises(KeyboardInterrupt), terminal.progress().stage("Saving the run"):
        raise KeyboardInterrupt
    assert "done" not in log.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (99.4, "99 s"),
        (99.5, "2 min"),
        (5100, "85 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (359_000, "99 h 43 min"),
        (95_600_000, "1,106 days"),
    ],
)
def test_times_are_told_in_the_unit_of_a_reader(seconds, text):
    assert describe_seconds(seconds) == text
