"""docs/add-a-family.md executed as printed; its families against the library, and one of them through a search."""

import importlib
import io
import re
import shlex
import sys
import tomllib
from contextlib import chdir
from pathlib import Path
from tokenize import COMMENT, generate_tokens

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

import das
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.sizes import Transfer
from compressor.data.generated.sentiments import write_sentences
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.families.text_encoder import TASK
from compressor.models.padding import join_streams
from compressor.models.steps import split_at_candidates
from compressor.saved_run.run_folder import open_run
from exporters.checks.records import Parity
from exporters.runtimes.sessions import OnnxRunner
from profiles.macs.published import count_published
from profiles.timing.template import Template
from profiles.timing.worker import COMMAND, SLIM, Setting, Worker, WorkerRequest
from tests.support.command_line import das as run_command
from tests.support.command_line import refused
from tests.support.packages import installed, write_package

PAGE = Path(__file__).parents[2] / "docs" / "add-a-family.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
TOML = re.search(r"^```toml\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)[1]
PROJECT = tomllib.loads(TOML)["project"]
COMMANDS = re.search(r"^```sh\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)[1].splitlines()


@pytest.fixture(scope="module", autouse=True)
def page(tmp_path_factory):
    """The code of the page as a package that is installed until the last test; its module's names."""
    site = tmp_path_factory.mktemp("site")
    entries = PROJECT["entry-points"]["das.families"]
    write_package(site, PROJECT["name"], "\n\n".join(BLOCKS), entries, PROJECT["version"])
    with installed(site):
        yield vars(importlib.import_module("my_families"))
        del sys.modules["my_families"]


def tiny(name, **settings):
    """The library's model with weights drawn wide enough for a difference to show."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(name, **({"vocab_size": 60, "num_labels": 3} | SIZES | settings))
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def batch(name, lengths=(9, 5, 12)):
    generator, longest = torch.Generator().manual_seed(2), max(lengths)
    ids = torch.randint(5, 60, (len(lengths), longest), generator=generator)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    pad = AutoConfig.for_model(name).pad_token_id
    inputs = {"input_ids": torch.where(mask.bool(), ids, pad), "attention_mask": mask}
    return inputs | ({"token_type_ids": mask * (ids > 30)} if "token_type_ids" in FAMILIES[name].input_names else {})


def test_the_page_has_at_most_60_lines_of_code():
    code = "\n".join(BLOCKS)
    comments = [token for token in generate_tokens(io.StringIO(code).readline) if token.type == COMMENT]
    assert len([line for line in code.splitlines() if line.strip()]) <= 60
    assert not comments and ";" not in code
    assert max(len(line) for line in PAGE.read_text().splitlines()) <= 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random MPNet with a tokenizer, and sentences."""
    folder = tmp_path_factory.mktemp("page")
    write_sentences(folder / "sentences", 60, seed=0)
    texts = [line.split("\t")[0] for line in (folder / "sentences" / "train.tsv").read_text().splitlines()[1:]]
    tiny("roformer", num_labels=2, vocab_size=200, num_hidden_layers=6).save_pretrained(folder / "roformer")
    word_tokenizer(texts).save(str(folder / "roformer" / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """The folder after the commands of the page but for the profile, and the run."""
    small = {"compress": ["--search-epochs", "1", "--recover-epochs", "1", "--text-length", "24", "--device", "cpu"]}
    with chdir(folder):
        for line in COMMANDS:
            _, command, *arguments = shlex.split(line)
            if command != "profile":
                done = run_command(command, *arguments, *small.get(command, ()))
                assert done.exit_code == 0, line + done.stdout + done.stderr
    return open_run(folder / "run")


def test_the_commands_of_the_page_take_the_family(run):
    assert [line.split()[1] for line in COMMANDS] == ["inspect", "compress", "export", "profile", "predict", "flops"]
    parity = Parity.model_validate_json((run.path / "exports" / "model.onnx.parity.json").read_text())
    assert parity.status == "passed" and len(parity.text_lengths) == 2
    slim = run.load_slim()
    assert run.manifest.versions["my-families"] == "0.1"
    with OnnxRunner(run.path / "exports" / "model.onnx") as runner, torch.no_grad():
        for lengths in ((9, 5, 12), (1,), (20, 3)):
            inputs = batch("roformer", lengths)
            torch.testing.assert_close(runner.run(inputs), slim(**inputs), atol=1e-4, rtol=0)


def test_another_process_knows_the_family(run):
    request = WorkerRequest(
        run=run.path, which=SLIM, runtime="torch", file=None, threads=1, device="cpu", setting=Setting()
    )
    with Template(COMMAND) as starts, Worker(request, starts.start) as first, Worker(request, starts.start) as second:
        assert all(wall > 0 for worker in (first, second) for wall, _ in worker.turn())


@pytest.mark.slow  # the process that measures is the one of the test above
def test_the_profile_of_the_page(run):
    done = run_command("profile", run.path, "--runtime", "torch", "--seconds", 0.1, "--device", "cpu")
    assert done.exit_code == 0, done.stdout + done.stderr


def test_missing_positions_are_noticed(page):
    torch.manual_seed(1)
    dims = page["RoformerDims"](config=SIZES | {"model_type": "roformer", "vocab_size": 60})
    model = page["ROFORMER"].build(dims, TASK).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        before = model(**batch("roformer"))
        model.prologue.sines.weight.zero_()
        assert (model(**batch("roformer")) - before).abs().max() > 1e-4


def test_the_families_are_what_they_declare():
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    exec(compile(code, f"{PAGE.name}, the check", "exec"), {})


def test_streams_of_different_lengths_join(tmp_path):
    tiny("roformer").save_pretrained(tmp_path)
    model, inputs = load_checkpoint(tmp_path).model, batch("roformer", (6, 12))
    fixed, varying = split_at_candidates(model.rounds, ["En1"])
    with torch.no_grad():
        rows = [
            model.advance(model.prologue(**{key: value[[row], :length] for key, value in inputs.items()}), fixed)
            for row, length in enumerate((6, 12))
        ]
        streams = join_streams(rows)
        logits = model.epilogue(model.advance(streams, varying))
        torch.testing.assert_close(logits, model(**inputs), atol=1e-5, rtol=0)


def test_a_parallel_adapter_stands_beside_the_layer(tmp_path):
    tiny("roformer").save_pretrained(tmp_path)
    plain, inputs = load_checkpoint(tmp_path).model, batch("roformer")
    adapted = load_checkpoint(tmp_path, transfer=Transfer(classes=3)).model
    with torch.no_grad():
        torch.testing.assert_close(adapted(**inputs), plain(**inputs))
        block, streams = adapted.blocks["En0"], plain.prologue(**inputs)
        block.adapter.up_proj.weight.normal_()
        beside = plain.blocks["En0"](**streams) + block.adapter(streams["hidden"])
        torch.testing.assert_close(block(**streams), beside)


def test_a_checkpoint_that_lacks_tensors_is_refused(tmp_path):
    library = tiny("roformer")
    state = {key: value for key, value in library.state_dict().items() if "layer.1.output.dense" not in key}
    library.save_pretrained(tmp_path, state_dict=state)
    with refused(InputError, "tensors-missing", 2, "roformer.encoder.layer.1.output.dense.bias, "):
        load_checkpoint(tmp_path)


def test_the_defaults_are_the_published_models(page):
    with torch.device("meta"):
        model = page["ROFORMER"].build(page["RoformerDims"](), TASK)
    head = sum(parameter.numel() for parameter in model.epilogue.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) - head == 123_555_840
    assert (model.dims.longest_text, model.dims.text_length) == (1536, 128)
    assert count_published("roformer", skip_layers=["En0"]).family == "roformer"


def test_search_and_recovery_know_the_family_without_being_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sentences(tmp_path / "data", 120, seed=0)
    texts = [line.split("\t")[0] for line in (tmp_path / "data" / "train.tsv").read_text().splitlines()[1:]]
    tiny("roformer", num_labels=2, vocab_size=200).save_pretrained("checkpoint")
    word_tokenizer(texts).save("checkpoint/tokenizer.json")
    options = {"search_epochs": 3, "recover_epochs": 1, "batch_size": 16, "text_length": 24}
    run = das.compress("checkpoint", skip=1, data="data", device="cpu", **options)
    slim = open_run(run.path).load_slim()
    assert slim.family == "roformer" and len(slim.layers) == 2 and len(slim.skipped) == 1
    assert {entry.layers for entry in run.search_log()} >= {("En0",), ("En1",), ("En2",)}
    trained = das.compress("checkpoint", skip=1, data="data", device="cpu", strategy="das", **options)
    assert any(trained.search_log()[0].gates.values())
