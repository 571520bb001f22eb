"""The published schemas are those of the values, and hold what the commands print."""

import json
from pathlib import Path

import jsonschema
import pytest

from compressor.saved_run.manifest import MANIFEST
from compressor.saved_run.run_folder import open_run
from das.schemas import DOCUMENTS, ENDING, format_schema, make_schema
from profiles.gates.baseline import ComparedProfile
from profiles.reports.build_report import build_report
from tests.support.command_line import das, follows_its_schema
from tests.support.reports import profile_of

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_published_schemas_are_those_of_the_values():
    """Where this fails: python -m das.schemas docs/schemas, and look at what changed."""
    published = {path.name.removesuffix(ENDING): path.read_text() for path in FOLDER.glob(f"*{ENDING}")}
    assert published == {name: format_schema(name) for name in DOCUMENTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(make_schema(name))
    assert make_schema(name)["description"]


def test_every_command_with_json_has_one():
    from das.main import app

    commands = {(entry.name or entry.callback.__name__): entry.callback for entry in app.registered_commands}
    with_json = {name for name, callback in commands.items() if "json" in callback.__annotations__}
    assert len(with_json) > 10
    assert with_json <= set(DOCUMENTS)


@pytest.mark.parametrize(
    "arguments", [("doctor",), ("flops", "bert", "--skip-layers", "En3"), ("inspect", "meter.ckpt")]
)
def test_what_commands_print_follows_their_schemas(arguments, workshop):
    """das() of tests/support/command_line.py looks at every document that any test lets a command print."""
    assert das(*arguments, "--json").exit_code == 0


def test_a_run_follows_the_schemas_of_its_files(shared_run):
    follows_its_schema("manifest", (shared_run.path / MANIFEST).read_text())
    follows_its_schema("compress", build_report(open_run(shared_run.path)).model_dump_json())


def test_a_document_that_is_not_what_it_was_is_found():
    found = json.loads(profile_of().model_dump_json())
    follows_its_schema("profile", json.dumps(found))
    follows_its_schema("profile", ComparedProfile(**found).model_dump_json())
    for broken in (
        {**found, "surprise": 1},
        {**found, "macs": {"full": 1, "slim": 1}},
        {**found, "schema_version": 99},
        {name: value for name, value in found.items() if name != "runtimes"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            follows_its_schema("profile", json.dumps(broken))
