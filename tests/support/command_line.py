"""What several tests share."""

import json
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from profiles.comparison.seed_runs import is_seeds_folder

GOLDEN = Path(__file__).parents[1] / "golden"


def das(*arguments, given_in=None):
    """Run the command line in this process; the result has exit_code, stdout and stderr.

    ``given_in`` is what stands in its standard input. What it prints with ``--json`` has to follow its schema.
    """
    from das.main import app

    given = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, given, input=given_in)
    if "--json" in given and done.stdout:
        name = _document(given)
        for document in done.stdout.splitlines() if name == "predict" and not refuses(done) else [done.stdout]:
            follows_its_schema("problems" if refuses(done) else name, document)
    return done


def _document(given):
    """The name of the document that a command prints."""
    if given[0] in ("tune", "reproduce"):
        return f"{given[0]}-dry-run" if "--dry-run" in given else given[0]
    if "--dry-run" in given or "--seeds" in given:
        return "dry-run" if "--dry-run" in given else "seeds"
    return "compare-seeds" if given[0] == "compare" and any(is_seeds_folder(Path(at)) for at in given[1:]) else given[0]


def refuses(done):
    """Whether what a command printed with ``--json`` is, in a line, what stopped it."""
    return done.exit_code != 0 and done.stdout.startswith('{"schema_version":1,"exit_code"')


def lines_of(result):
    """The documents that a command printed with ``--json``, one a line."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@contextmanager
def refused(kind, code, *values):
    """Check that a DasError of this kind is raised, of problems with this code (or these), and names the values."""
    with pytest.raises(kind) as error:
        yield error
    assert error.value.codes == ((code,) if isinstance(code, str) else code)
    for value in values:
        assert str(value) in str(error.value), f"{value} is not in: {error.value}"


def stopped(result, exit_code, codes, *values):
    """Check how a command failed: its exit code, the codes (or the one) of its problems, and the values it names.

    Where lines are broken makes no difference.
    """
    assert result.exit_code == exit_code, result.stderr + result.stdout
    wanted = [codes] if isinstance(codes, str) else list(codes)
    found = [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert found == wanted, result.stderr
    message = " ".join(result.stderr.split())
    for value in ("found:", "expected:", "fix:", *values):
        assert str(value) in message, f"{value} is not in: {message}"
    assert "Traceback" not in result.stderr


def follows_its_schema(name, document):
    """Fail unless a JSON document follows the schema of that name, and has no field that is not in it."""
    _validator(name).validate(json.loads(document))


@cache
def _validator(name):
    from jsonschema import Draft202012Validator

    from das.schemas import make_schema

    return Draft202012Validator(_closed(make_schema(name)))


def _closed(schema):
    """The same without room for other fields."""
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    return closed | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {})
