"""The table of column names in docs/data.md is the code's."""

from pathlib import Path

from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import describe_columns
from compressor.tasks import TASKS

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_names_of_columns_are_those_that_are_taken():
    rows = [
        f"| {task.name} | {role} | {names} |"
        for task in TASKS.values()
        for layout in task.layouts
        if isinstance(layout, NamedColumns)
        for role, names in describe_columns(layout.forms).items()
    ]
    header = "| task | column | names |\n|---|---|---|\n"
    assert header + "\n".join(rows) + "\n\n" in PAGE.read_text()
