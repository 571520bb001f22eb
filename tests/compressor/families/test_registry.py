"""Families of other packages: all that is installed is found, and what is wrong with one stops no other."""

import json

import pytest

import das
from compressor.checkpoints.recognise import recognise
from compressor.errors import InputError, UsageError
from compressor.families import FAMILIES
from compressor.families.plugins import find_faults
from compressor.saved_run.run_folder import open_run
from tests.support import tiny_models as tiny
from tests.support.command_line import das as run_command
from tests.support.command_line import refused
from tests.support.packages import installed, write_package

MODULE = """
from torch import nn
from compressor.families.text_encoder import RobertaDims, encoder_family

class Dims(RobertaDims):
    config: dict[str, object] = {"model_type": "data2vec-text"}

OURS = encoder_family(
    "NAME",
    Dims,
    lambda model: nn.Identity(),
    "classifier.out_proj.weight",
    library="Data2VecText",
    prefix="data2vec_text",
)
"""


def package(site, name, code=MODULE, entry="OURS"):
    module = name.replace("-", "_")
    write_package(site, name, code.replace("NAME", module), {"families": f"{module}:{entry}"})


@pytest.fixture
def site(tmp_path, request):
    """A folder of packages that is on the path; each test's packages have names of their own."""
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(folder):
        yield folder


def test_a_family_of_another_package_is_known_by_name_and_listed(site):
    package(site, "one-good")
    assert "one_good" in FAMILIES and FAMILIES["one_good"].name == "one_good"
    assert list(FAMILIES)[-1] == "one_good" and FAMILIES.problems == ()
    assert FAMILIES.package_of("one_good") == {"one-good": "0.1"} and FAMILIES.package_of("bert") == {}


def test_a_sequence_of_families_is_one_entry(site):
    package(site, "several", MODULE + "\nALL = [OURS]\n", "ALL")
    assert "several" in FAMILIES


def test_a_shipped_family_is_looked_up_without_importing_any_package(site):
    package(site, "ends-all", "raise SystemExit(3)")
    assert FAMILIES["bert"].name == "bert" and "roberta" in FAMILIES
    assert FAMILIES._plugins is None


@pytest.mark.parametrize(
    ("name", "code", "entry", "words"),
    [
        ("cannot-import", "import nothing_of_the_kind", "OURS", "ModuleNotFoundError"),
        ("ends-python", "raise SystemExit(3)", "OURS", "SystemExit"),
        ("has-no-such-name", MODULE, "THEIRS", "AttributeError"),
        ("is-no-family", "OURS = 5", "OURS", "of type int, not Family"),
        ("has-other-things", "OURS = [5]", "OURS", "of type int, not Family"),
        (
            "contradicts-itself",
            MODULE
            + "\nfrom dataclasses import replace\nOURS = replace(OURS, readout=lambda dims, task: {'pooled': 'first'})",
            "OURS",
            "the readout names streams that nothing makes: pooled",
        ),
    ],
)
def test_a_broken_package_is_named_and_stops_no_other(site, name, code, entry, words):
    package(site, name, code, entry)
    package(site, f"beside-{name}")
    assert f"beside_{name}".replace("-", "_") in FAMILIES
    (problem,) = FAMILIES.problems
    assert problem.code == "family-broken" and f"the package {name} registers" in problem.found
    assert words in problem.found and f"pip uninstall {name}" in problem.fix


@pytest.mark.parametrize(
    ("names", "words"),
    [(("bert",), "the name bert"), (("first-of-two", "second-of-two"), "checkpoints of model_type data2vec-text with")],
)
def test_a_name_or_format_that_is_taken_is_refused(site, names, words):
    before = FAMILIES["bert"]
    for name in names:
        package(site, name)
    assert [problem.code for problem in FAMILIES.problems] == ["family-clash"] * len(names)
    assert all(words in problem.found for problem in FAMILIES.problems)
    assert FAMILIES["bert"] is before and not any(
        name.replace("-", "_") in FAMILIES for name in names if name != "bert"
    )


def test_a_package_may_look_families_up_while_it_is_imported(site):
    package(site, "looks-up", "from compressor.families import FAMILIES\nlist(FAMILIES)\n" + MODULE)
    assert "looks_up" in FAMILIES and FAMILIES.problems == ()


def test_a_run_of_a_family_that_is_not_here_is_not_called_damaged(site, shared_run, tmp_path):
    content = json.loads((shared_run.path / "manifest.json").read_text())
    content |= {"family": "theirs", "versions": content["versions"] | {"their-families": "2.1"}}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with refused(InputError, "family-missing", "is sound", "theirs", "install their-families==2.1"):
        open_run(tmp_path)
    package(site, "broken-theirs", "OURS = 5")
    FAMILIES._plugins = None
    with refused(InputError, ("family-missing", "family-broken"), "broken-theirs"):
        open_run(tmp_path)


def test_what_is_left_out_is_said_where_families_are_told_apart(site, tmp_path):
    package(site, "broken-beside", "OURS = 5")
    found = recognise(tiny_bert(tmp_path / "bert"))
    assert found.family.name == "bert" and any("broken-beside registers" in note for note in found.notes)
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "unheard-of"}')
    with refused(InputError, ("unknown-model", "family-broken"), "broken-beside"):
        recognise(tmp_path / "bert")
    with refused(UsageError, ("unknown-family", "family-broken"), "broken-beside"):
        das.flops("theirs")


def tiny_bert(folder):
    from compressor.checkpoints.write import save_public_checkpoint

    model = tiny.model("bert", "text-classification", shallow=True)
    save_public_checkpoint(model, folder, model.dims.library.to_dict())
    return folder


def test_the_doctor_lists_packages_and_what_is_wrong_with_one(site):
    package(site, "listed-one")
    package(site, "listed-broken", "OURS = 5")
    answer = json.loads(run_command("doctor", "--json").stdout)
    items = {item["name"]: item for item in answer["items"]}
    assert items["family listed_one"]["found"] == "registered by listed-one 0.1"
    assert not items["family"]["ok"] and "pip uninstall listed-broken" in items["family"]["fix"]


@pytest.mark.parametrize("name", ["meter", "vilt", "roberta", "bert", "distilbert", "mpnet"])
def test_shipped_families_contradict_nothing(name):
    assert list(find_faults(FAMILIES[name])) == []
