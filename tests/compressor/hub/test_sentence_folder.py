"""Slim embedders as folders of sentence-transformers, which loads them in a process without das."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import das
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.errors import CheckFailed
from tests.support.command_line import refused
from tests.support.embedders import TEXTS, embedder_run
from tests.support.marks import slow_but

EVERY = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "modernbert")


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """Where the library copies code of folders to: not where other processes do."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


def vectors_of(run):
    """The run's own vectors of texts."""
    with torch.no_grad():
        return run.load_slim()(**run.transforms().text(list(TEXTS)))


ENCODE = "import sys; sys.modules.update(dict.fromkeys(('das', 'compressor', 'exporters', 'profiles')))\n"
ENCODE += "import json; from sentence_transformers import SentenceTransformer\n"
ENCODE += "model = SentenceTransformer(sys.argv[1], device='cpu', trust_remote_code=sys.argv[2] == 'True')\n"
ENCODE += "print(json.dumps([model.encode(sys.argv[3:]).tolist(), model.prompts, model.max_seq_length]))"


@pytest.mark.parametrize("family", slow_but(("bert", "modernbert"), EVERY))
@pytest.mark.parametrize("adapters", [False, True])
def test_what_is_written_is_the_run_s_model(tmp_path, family, adapters):
    run = embedder_run(tmp_path, family, adapters)
    saved = das.save(run, to=tmp_path / "out")
    assert (saved.loader, saved.trust_remote_code, saved.layers) == ("SentenceTransformer", adapters, 4)
    assert saved.max_abs_error < 1e-5
    for name in ("modules.json", "config_sentence_transformers.json", "1_Pooling/config.json", "2_Dense/config.json"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "full" / name).read_text()
    weights = load_file(tmp_path / "out" / "2_Dense" / "model.safetensors")
    assert {name: tuple(x.shape) for name, x in weights.items()} == {"linear.weight": (7, 96), "linear.bias": (7,)}
    bare = load_file(tmp_path / "out" / "model.safetensors")
    assert not any(name.startswith(("bert.", "modules.", "model.")) for name in bare)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: sentence-transformers" in card and "sentence-similarity" in card
    if not adapters:
        again = load_checkpoint(tmp_path / "out").model
        assert again.dims.sentence == run.dims.sentence
        with torch.no_grad():
            found = again(**run.transforms().text(list(TEXTS)))
        torch.testing.assert_close(found, vectors_of(run), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "adapters"), slow_but([("bert", True)], [(f, a) for f in EVERY for a in (0, 1)]))
def test_sentence_transformers_loads_it_where_das_cannot_be_imported(tmp_path, family, adapters):
    pytest.importorskip("sentence_transformers")
    run = embedder_run(tmp_path, family, bool(adapters))
    das.save(run, to=tmp_path / "out")
    given = (str(tmp_path / "out"), str(bool(adapters)), *TEXTS)
    done = subprocess.run(
        [sys.executable, "-c", ENCODE, *given],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    vectors, prompts, longest = json.loads(done.stdout)
    torch.testing.assert_close(torch.tensor(vectors), vectors_of(run), atol=1e-5, rtol=0)
    assert prompts["query"] == "a b " and longest == 9
    assert "newly initialized" not in done.stderr and "MISSING" not in done.stderr


def test_lower_case_is_kept(tmp_path):
    run = embedder_run(tmp_path, texts={"do_lower_case": True})
    assert not das.save(run, to=tmp_path / "out").tokenizer_as_it_came
    upper, lower = run.transforms().text(["A B"]), run.transforms().text(["a b"])
    assert upper["input_ids"].tolist() == lower["input_ids"].tolist()
    assert find_tokenizer(None, tmp_path / "out", None).tokenizer.encode("A B").ids == [2, 5, 6, 3]


def test_a_folder_whose_modules_make_other_vectors_is_not_kept(tmp_path):
    run = embedder_run(tmp_path)
    (run.path / "source" / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["mean", "cls"]}')
    with refused(CheckFailed, "saved-model-differs"):
        das.save(run, to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_transformer_alone_is_one_of_the_library(tmp_path):
    run = embedder_run(tmp_path)
    das.save(run, to=tmp_path / "out")
    model, said = AutoModel.from_pretrained(tmp_path / "out", add_pooling_layer=False, output_loading_info=True)
    assert model.config.num_hidden_layers == 4 and not said["missing_keys"] and not said["unexpected_keys"]
    assert model.config.num_labels == 2
