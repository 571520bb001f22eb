"""Slim models as folders of transformers: the library's own classes load them and answer as the run does."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer, pipeline

import das
from compressor.errors import CheckFailed, InputError
from compressor.hub.modeling_das import DasBertForSequenceClassification, PassThrough, SkipAdapter
from compressor.hub.slim_tensors import find_format
from tests.support import saved_runs
from tests.support import tiny_models as tiny
from tests.support.command_line import das as command
from tests.support.command_line import refused, stopped
from tests.support.marks import slow_but


def has_class(family, task):
    try:
        return bool(find_format(family, task))
    except InputError:
        return False


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """Where the library copies code of folders to: not where other processes do."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


KINDS = [kind for kind in (*tiny.EVERY, *tiny.RELATIVES) if has_class(*kind)]
WITHOUT = [kind for kind in tiny.EVERY if kind not in KINDS]
TEXTS = [kind for kind in KINDS if kind[1] == "text-classification"]
LAYERS = {"distilbert": "n_layers"}
STRUCTURES = [kind for kind in KINDS if kind[0] not in ("xlm-roberta", "camembert")]  # those are RoBERTas
every_kind = pytest.mark.parametrize(("family", "task"), slow_but(STRUCTURES, KINDS))
PLACES = [kind for kind in KINDS if kind[0] != "albert"]  # where an adapter can stand
every_place = pytest.mark.parametrize(("family", "task"), slow_but([k for k in STRUCTURES if k in PLACES], PLACES))
every_text = pytest.mark.parametrize(("family", "task"), slow_but([k for k in STRUCTURES if k in TEXTS], TEXTS))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a run, what das.save says of it and the folder, of a kind with or without adapters; made once."""

    @cache
    def write(family, task, adapters):
        place = tmp_path_factory.mktemp("saved")
        run = saved_runs.saved_run(place, family, task, adapters, beside=adapters)
        return run, das.save(run, to=place / "out"), place / "out"

    return write


def answers(folder, run, loader=None, **given):
    """The logits of a folder's model on the run's samples, as transformers loads it."""
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(transformers, loader) if loader else getattr(transformers, config["architectures"][0])
    model = kind.from_pretrained(folder, **given).eval()
    with torch.no_grad():
        return model(**run.samples()).logits


def check_answers(found, run):
    """The logits are the run's, to what float32 can tell of numbers of their size."""
    logits = run.answers()["slim"]
    assert logits.abs().max() > 0.1 and logits.std() > 0.05
    assert float((found - logits).abs().max()) <= 1e-6 * max(1, float(logits.abs().max()))


@every_kind
def test_without_adapters_it_is_a_folder_of_the_library(written, family, task):
    run, saved, folder = written(family, task, False)
    check_answers(answers(folder, run), run)
    config = AutoConfig.from_pretrained(folder)
    assert type(config).__module__.startswith("transformers.models.")
    assert config.num_hidden_layers == saved.layers == 4 and not saved.trust_remote_code
    assert json.loads((folder / "config.json").read_text())[LAYERS.get(family, "num_hidden_layers")] == 4
    assert not (folder / "modeling_das.py").exists()
    numbered = (re.search(r"layers?\.(\d+)\.", key) for key in load_file(folder / "model.safetensors"))
    assert {found[1] for found in numbered if found} == ({*"0123"} if (family, task) in PLACES else {"0"})


@every_place
def test_with_adapters_it_brings_their_code(written, family, task):
    run, saved, folder = written(family, task, True)
    check_answers(answers(folder, run, saved.loader, trust_remote_code=True), run)
    assert saved.trust_remote_code and saved.layers == 4
    assert AutoConfig.from_pretrained(folder).num_hidden_layers == 6  # of which two are adapters
    code = (folder / "modeling_das.py").read_text()
    assert "import compressor" not in code and "import das" not in code
    card = (folder / "README.md").read_text()
    assert "trust_remote_code=True" in card and "En1, En4" in card


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(("family", "task"), [("bert", "text-classification"), ("vilt", "vqa")])
def test_with_nothing_in_place_of_layers(tmp_path, family, task, beside):
    run = saved_runs.saved_run(tmp_path, family, task, beside=beside, nothing=True)
    saved = das.save(run, to=tmp_path / "out")
    check_answers(answers(tmp_path / "out", run, saved.loader, trust_remote_code=True), run)
    assert saved.trust_remote_code == beside


@pytest.mark.parametrize(("family", "task"), slow_but([("bert", "text-classification"), ("vilt", "nlvr2")], PLACES))
def test_adapters_stand_in_place_of_layers_alone(tmp_path, family, task):
    run = saved_runs.saved_run(tmp_path, family, task)
    saved = das.save(run, to=tmp_path / "out")
    check_answers(answers(tmp_path / "out", run, saved.loader, trust_remote_code=True), run)


@pytest.mark.parametrize(
    ("said", "tuples"),
    [
        (torch.Tensor, False),
        ("torch.FloatTensor", False),
        (tuple[torch.Tensor], True),
        ("Tuple[torch.Tensor, ...]", True),
        (None, True),
    ],
)
def test_what_stands_in_place_of_a_layer_returns_what_its_version_of_the_library_expects(said, tuples):
    class Layer(torch.nn.Module):
        def forward(self, hidden_states):
            return hidden_states

    if said is not None:
        Layer.forward.__annotations__["return"] = said
    for instead in (SkipAdapter(8, 2, Layer()), PassThrough(Layer())):
        assert isinstance(instead(torch.ones(1, 3, 8), None, 1, mask=None), tuple) == tuples


def test_adapters_have_no_place_where_one_layer_is_run_again(tmp_path):
    run = saved_runs.saved_run(tmp_path, "albert", "text-classification")
    with refused(InputError, "adapters-have-no-place", "albert", "--replace none"):
        das.save(run, to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("adapters", [False, True])
@every_text
def test_a_pipeline_gives_the_labels_of_the_run(written, tmp_path, family, task, adapters):
    run, _, folder = written(family, task, adapters and (family, task) in PLACES)
    shutil.copytree(folder, tmp_path / "copied")
    text = run.transforms().text
    with torch.no_grad():
        best = run.load_saved()(**text(["w1 w2 w3"])).softmax(1).max(1)
    (found,) = pipeline(task, str(tmp_path / "copied"))("w1 w2 w3")  # das.save has made das.hub's classes known
    assert found["label"] == run.labels()[int(best.indices)]
    assert found["score"] == pytest.approx(float(best.values), abs=1e-6)
    ids = AutoTokenizer.from_pretrained(tmp_path / "copied")("w1 w30 w2")["input_ids"]
    assert ids == [2, 6, 35, 7, 3]


def test_what_the_library_saves_again_is_the_same(written, tmp_path):
    run, saved, folder = written("bert", "text-classification", True)
    DasBertForSequenceClassification.from_pretrained(folder).save_pretrained(tmp_path / "again")
    check_answers(answers(tmp_path / "again", run, saved.loader, trust_remote_code=True), run)
    assert (tmp_path / "again" / "modeling_das.py").exists()


def test_settings_and_tokenizer_are_kept_as_they_came(written, tmp_path):
    shutil.copytree(written("bert", "text-classification", False)[2], tmp_path / "full")
    config = json.loads((tmp_path / "full" / "config.json").read_text())
    config |= {"num_hidden_layers": 6, "finetuning_task": "sst2", "dtype": "float16", "_name_or_path": "/home/me"}
    config |= {"pruned_heads": {"2": [1], "4": [0]}, "id2label": {"0": "x"}, "num_labels": 7}
    (tmp_path / "full" / "config.json").write_text(json.dumps(config))
    files = {name: tmp_path / "full" / name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")}
    run = saved_runs.saved_run(tmp_path, "bert", "text-classification", adapters=False, files=files)
    saved = das.save(run, to=tmp_path / "out")
    assert saved.tokenizer_as_it_came
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == files[name].read_bytes()
    found = json.loads((tmp_path / "out" / "config.json").read_text())
    assert found["finetuning_task"] == "sst2" and found["dtype"] == "float32" and found["num_hidden_layers"] == 4
    assert found["pruned_heads"] == {"1": [1]} and found["id2label"]["4"] == "class 4"
    assert found["problem_type"] == "single_label_classification"
    assert not {"num_labels", "_name_or_path"} & found.keys()
    check_answers(answers(tmp_path / "out", run), run)


def test_a_tokenizer_that_transformers_would_read_otherwise_is_written_anew(written, tmp_path):
    shutil.copytree(written("bert", "text-classification", False)[2], tmp_path / "full")
    settings = json.loads((tmp_path / "full" / "tokenizer_config.json").read_text())
    (tmp_path / "full" / "tokenizer_config.json").write_text(json.dumps(settings | {"truncation_side": "left"}))
    files = {name: tmp_path / "full" / name for name in ("tokenizer.json", "tokenizer_config.json")}
    run = saved_runs.saved_run(tmp_path, "bert", "text-classification", adapters=False, files=files)
    assert not das.save(run, to=tmp_path / "out").tokenizer_as_it_came
    words = " ".join(f"w{i}" for i in range(20))
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(words, truncation=True)["input_ids"]
    assert ids == [2, 5, 6, 7, 8, 9, 10, 11, 3]


def test_images_are_made_as_the_run_makes_them(written):
    run, _, folder = written("vilt", "vqa", False)
    read = find_format("vilt", "vqa").read_beside
    assert read(run.dims, folder) == (run.dims, ())
    assert type(transformers.AutoProcessor.from_pretrained(folder)).__name__ == "ViltProcessor"


@pytest.mark.parametrize(("family", "task"), WITHOUT)
def test_what_transformers_has_no_class_for_is_refused(tmp_path, family, task):
    run = saved_runs.saved_run(tmp_path, family, task) if family != "meter" else None
    if run is None:
        with refused(InputError, "no-class-in-transformers", family, task, "das export"):
            find_format(family, task)
    else:
        with refused(InputError, "no-class-in-transformers", family, task, "das export"):
            das.save(run, to=tmp_path / "out")
        assert not (tmp_path / "out").exists()


ELSEWHERE = """
import json, sys
import importlib.abc, torch, transformers
from safetensors.torch import load_file


class Nowhere(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("das", "compressor", "exporters", "profiles"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Nowhere())
for run, folder, loader in json.load(sys.stdin):
    model = getattr(transformers, loader).from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        logits = model(**load_file(run + "/samples.safetensors")).logits
    wanted = load_file(run + "/answers.safetensors")["slim"]
    error, scale = float((logits - wanted).abs().max()), float(wanted.abs().max())
    assert error <= 1e-6 * max(1, scale), (folder, error, scale)
    tokens = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    assert tokens("w1 w30 w2")["input_ids"] == [2, 6, 35, 7, 3]
    if "text-classification" in folder:
        (found,) = transformers.pipeline("text-classification", folder, trust_remote_code=True)("w1 w2 w3")
        assert found["label"].startswith("class "), found
    print(type(model).__name__)
"""


@pytest.mark.slow
def test_all_of_them_where_das_cannot_be_imported(written, tmp_path):
    """The tests above load each in this process, with the folders' own code or none."""
    runs = []
    for (family, task), adapters in (*itertools.product(PLACES, (True,)), *itertools.product(KINDS, (False,))):
        run, saved, folder = written(family, task, adapters)
        moved = shutil.copytree(folder, tmp_path / f"{family}-{task}-{adapters}")
        runs.append((str(run.path), str(moved), saved.loader))
    given, place = json.dumps(runs), {**os.environ, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=tmp_path, env=place)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == len(runs)


def test_a_folder_that_holds_something_is_refused_with_all_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    stopped(command("save", "nothing", "--to", "out"), 3, ["folder-exists", "run-missing"], "out is not empty")
    stopped(command("save", "nothing", "--to", "out/mine"), 3, ["folder-exists", "run-missing"], "is a file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "out"]


def test_a_folder_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    run = saved_runs.saved_run(tmp_path, "bert", "text-classification", adapters=False)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("compressor.hub.slim_tensors._renumber", lambda state, places: state)
    with refused(CheckFailed, "saved-model-differs", "missing keys"):
        das.save(run, to=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [] and not list(tmp_path.glob(".out*"))


def test_the_command_says_how_it_is_loaded(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, _, _ = written("bert", "text-classification", True)
    told = command("save", run.path, "--to", "out")
    assert told.exit_code == 0, told.stderr
    assert "trust_remote_code=True" in told.stdout and "AutoModelForSequenceClassification" in told.stdout
    told = command("save", run.path, "--to", "json", "--json")
    assert json.loads(told.stdout)["architecture"] == "DasBertForSequenceClassification"


@pytest.mark.parametrize("given", ["out", "out/model.safetensors"])
@pytest.mark.parametrize(("family", "task"), [("bert", "text-classification"), ("vilt", "vqa")])
def test_a_folder_with_adapters_is_no_model_to_compress(written, family, task, given):
    _, _, folder = written(family, task, True)
    stopped(command("inspect", folder.parent / given), 3, ["slim-already"], "--from RUN")


def test_a_folder_without_adapters_can_be_compressed_again(written):
    told = command("inspect", written("bert", "text-classification", False)[2], "--json")
    assert [layer["name"] for layer in json.loads(told.stdout)["layers"]] == ["En0", "En1", "En2", "En3"]


@pytest.mark.parametrize("family", ["bert", "vilt"])
def test_a_model_that_skips_nothing_has_adapters_beside_every_layer(tmp_path, family):
    task = {"bert": "text-classification", "vilt": "vqa"}[family]
    run = saved_runs.saved_run(tmp_path, family, task, adapters=False, beside=True, skipped=())
    saved = das.save(run, to=tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text())["das_adapters"]
    assert (saved.layers, saved.trust_remote_code, said["in_place_of"]) == (6, True, {})
    assert said["beside"] == [saved_runs.WIDTH] * {"bert": 1, "vilt": 2}[family]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# full, adapted" in card and "Of 6 layers none is gone; adapters stand beside them." in card
