"""Tables on the terminal, within 80 columns."""

from __future__ import annotations

import rich.box
from rich.table import Table as RichTable

from profiles.formatting import Table


def draw(table: Table) -> RichTable:
    """Return ``table`` for rich: names to the left, figures to the right, indented rows dim."""
    rich_table = RichTable(title=table.title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    for place, header in enumerate(table.header):
        rich_table.add_column(header, justify="right" if place else "left", no_wrap=True)
    for row in table.rows:
        rich_table.add_row(*row, style="dim" if row[0].startswith(" ") else "")
    return rich_table
