"""Progress on a terminal, and silence without one."""

import io

import pytest
from rich.console import Console

from das import terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch, is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    monkeypatch.setattr(terminal, "err_console", console)
    with terminal.progress().bar("Searching 12 layers", 2) as bar:
        bar.advance()
        bar.advance()
    drawn = console.file.getvalue()
    assert ("Searching 12 layers" in drawn and "2/2" in drawn) == is_terminal
    assert is_terminal or not drawn
