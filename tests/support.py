"""What several tests share."""

from pathlib import Path

from typer.testing import CliRunner

GOLDEN = Path(__file__).parent / "golden"


def das(*arguments):
    """Run the command line in this process; the result has exit_code, stdout and stderr."""
    from das.main import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])
