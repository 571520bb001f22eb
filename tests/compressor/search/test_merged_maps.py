"""What skipped layers did, merged into the weights of the layer in front."""

import json

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification

from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.run_folder import open_run
from compressor.search.merged_maps import MapRegression, merge_maps
from compressor.search.option_rules import check_options
from compressor.settings import make_settings
from tests.support import saved_runs
from tests.support import tiny_models as tiny
from tests.support.command_line import das, refused, stopped

KINDS = (("modernbert", "text-classification"), ("vilt", "vqa"))


def streams(model, seed):
    names = FAMILIES[model.family].input_names
    return model.prologue(**{name: x for name, x in tiny.batch(model, 6, seed).items() if name in names})


def hidden(model, batch):
    return model.advance(batch, model.rounds)["hidden"]


@pytest.mark.parametrize("constant", (False, True))
def test_the_regression_is_that_of_the_closed_form(constant):
    torch.manual_seed(0)
    given, missing = torch.randn(50, 4) + 1, torch.randn(50, 4)
    regression = MapRegression(4, constant)
    regression.add(given[:20], missing[:20])
    regression.add(given[20:], missing[20:])
    change, offset = regression.solve()
    x = torch.cat((given, torch.ones(50, int(constant))), 1).double()
    held = torch.tensor([*[0.01 * float((given**2).sum(0).mean())] * 4, *[0.0] * constant], dtype=torch.float64)
    expected = torch.linalg.inv(x.T @ x + held.diag()) @ x.T @ missing.double()
    assert torch.allclose(change, expected[:4]) and torch.allclose(offset, expected[4:].sum(0))


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_a_map_behind_the_last_linear_layer_and_one_merged_into_it_are_the_same(family, task):
    full = tiny.model(family, task)
    plan, absorbers = make_plan(full, ("En2", "En3", "En5"), adapters=False), FAMILIES[family].absorbers
    (absorber,) = absorbers.values()
    plain, slim = remove_layers(full, plan), remove_layers(full, plan)
    batches = [streams(full, seed) for seed in range(4)]
    changed = merge_maps(full, slim, absorbers, batches)
    names = {name for name, value in slim.named_parameters() if any(value is one for one in changed)}
    kept = {f"blocks.En{number}.{absorber}.weight" for number in (1, 4)}
    assert {name for name in names if name.endswith("weight")} == kept
    before = dict(plain.named_parameters())
    for name, value in slim.named_parameters():
        assert torch.equal(value, before[name]) == (name not in names)
    # W' = (1 + T)' W, b' = (1 + T)' b + c: T and c follow from the weights, and stand behind the plain model's map.
    for layer in ("En1", "En4"):
        old, new = (model.blocks[layer].get_submodule(absorber) for model in (plain, slim))
        map_ = torch.linalg.lstsq(old.weight.T.double(), new.weight.T.double()).solution.float()
        offset = 0 if old.bias is None else new.bias - old.bias @ map_
        old.register_forward_hook(lambda module, inputs, out, map_=map_, offset=offset: out @ map_ + offset)
    batch = streams(full, 9)
    with torch.no_grad():
        assert torch.allclose(hidden(plain, batch), hidden(slim, batch), atol=1e-4)
        assert not torch.allclose(hidden(remove_layers(full, plan), batch), hidden(slim, batch), atol=1e-2)


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_what_is_merged_comes_closer_to_the_full_model(family, task):
    full = tiny.model(family, task)
    plan = make_plan(full, ("En2", "En3"), adapters=False)
    plain, slim = remove_layers(full, plan), remove_layers(full, plan)
    merge_maps(full, slim, FAMILIES[family].absorbers, [streams(full, seed) for seed in range(8)])
    batch = streams(full, 99)
    rounds = full.rounds[: next(place for place, (step, *_) in enumerate(full.rounds) if step.name == "En4")]
    with torch.no_grad():
        target = full.advance(batch, rounds)["hidden"]
        far, near = (
            F.mse_loss(model.advance(batch, model.rounds[: len(rounds)])["hidden"], target) for model in (plain, slim)
        )
    assert near < 0.9 * far


@pytest.mark.parametrize(("gone", "absorbing"), [("VEn1", "VEn0"), ("VEn0", None)])
def test_of_two_encoders_a_layer_makes_up_for_those_of_its_own_stream(gone, absorbing):
    full = tiny.model("meter", "vqa")
    slim = remove_layers(full, make_plan(full, (gone,), adapters=False))
    changed = merge_maps(full, slim, FAMILIES["meter"].absorbers, [streams(full, seed) for seed in range(4)])
    names = {name for name, value in slim.named_parameters() if any(value is one for one in changed)}
    assert names == {f"blocks.{absorbing}.mlp.fc2.{kind}" for kind in ("weight", "bias") if absorbing}


def test_a_layer_that_does_nothing_leaves_the_weights_as_they_are():
    full = tiny.model("modernbert", "text-classification")
    for parameter in full.blocks["En3"].parameters():
        parameter.data.zero_()
    slim = remove_layers(full, make_plan(full, ("En3",), adapters=False))
    merge_maps(full, slim, {"encoder": "layer.mlp.Wo"}, [streams(full, 0)])
    assert torch.equal(slim.blocks["En2"].layer.mlp.Wo.weight, full.blocks["En2"].layer.mlp.Wo.weight)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of a ModernBERT and a BERT, and sentences."""
    for family in ("modernbert", "bert"):
        torch.manual_seed(0)
        config = tiny.SIZES[family, "text-classification"](0, 3).config
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config, num_labels=3))
        model.save_pretrained(tmp_path / family)
        saved_runs.words().save(str(tmp_path / family / "tokenizer.json"))
    (tmp_path / "data").mkdir()
    rows = "".join(f"w{number % 30} w{number % 7} w{number % 11},{number % 3}\n" for number in range(90))
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.csv").write_text("text,label\n" + rows)
    return tmp_path


MERGED = ("--replace", "merged", "--recover", "closed-form")


def test_a_run_is_a_folder_of_the_librarys_own_class(folder):
    given = ("--layers", "En2,En4", *MERGED, "--data", folder / "data", "--out", folder / "run", "--json")
    done = das("compress", folder / "modernbert", *given)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["updated_parameters"] == {"layers": 2 * 48 * 96}
    assert [entry["adapter_width"] for entry in open_run(folder / "run").manifest.plan.model_dump()["skip"]] == [0, 0]
    assert "merged into the layer in front" in (folder / "run" / "report.md").read_text()
    saved = json.loads(das("save", folder / "run", "--to", folder / "saved", "--json").stdout)
    assert (saved["architecture"], saved["trust_remote_code"]) == ("ModernBertForSequenceClassification", False)
    assert saved["max_abs_error"] < 1e-5
    first = das(
        "compress", folder / "modernbert", "--layers", "En0", *MERGED, "--data", folder / "data", "--out", folder / "b"
    )
    assert "En0 has no layer in front" in first.stderr


def test_layers_that_end_in_a_norm_are_refused(folder):
    given = ("--skip", 2, *MERGED, "--data", folder / "data", "--dry-run")
    stopped(das("compress", folder / "bert", *given), 2, "layers-absorb-nothing", "bert", "modernbert")


@pytest.mark.parametrize(
    ("given", "code"),
    (
        ({"recover": "train"}, "recovery-without-maps"),
        ({"recover": "none"}, "recovery-without-maps"),
        ({"recover": "closed-form", "strategy": "das"}, "search-trains-adapters"),
        ({"recover": "closed-form", "skip_width": 8}, "width-without-adapters"),
    ),
)
def test_options_that_do_not_go_together(given, code):
    with refused(UsageError, code):
        check_options(make_settings(checkpoint="x", skip=2, replace="merged", **given))
