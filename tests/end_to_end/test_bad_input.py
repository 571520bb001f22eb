"""Mistakes a user makes: the right exit code, three parts, nothing damaged, never a bare traceback."""

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor.checkpoints.read import read_checkpoint
from compressor.data.arrow_files import write_table
from compressor.errors import InputError, UsageError
from compressor.settings import make_settings
from tests.support.command_line import GOLDEN, das, stopped


def refused(result, exit_code, codes, *values):
    """Check how a command failed, and that no run is left."""
    stopped(result, exit_code, codes, *values)
    assert not list(Path("runs").glob("*"))


def compress(*arguments):
    return das("compress", "meter.ckpt", "--task", "vqa", "--skip", 8, *arguments)


def test_no_such_checkpoint_names_those_that_are_there(workshop):
    refused(
        das("compress", "metre.ckpt", "--task", "vqa", "--skip", 8), 3, "checkpoint-missing", "metre.ckpt", "meter.ckpt"
    )


def test_empty_file(workshop):
    (workshop / "meter.ckpt").write_bytes(b"")
    refused(compress(), 3, "checkpoint-empty", "meter.ckpt")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_checkpoint(workshop, share):
    content = (workshop / "meter.ckpt").read_bytes()
    (workshop / "meter.ckpt").write_bytes(content[: int(share * len(content))])
    refused(compress(), 3, "checkpoint-damaged", "meter.ckpt")


@pytest.mark.parametrize(
    "content", [b"not a checkpoint", random.Random(0).randbytes(5000), b"PK\x03\x04 and then nothing"]
)
def test_not_a_checkpoint(workshop, content):
    (workshop / "meter.ckpt").write_bytes(content)
    refused(compress(), 3, "checkpoint-damaged", "meter.ckpt")


def test_another_zip(workshop):
    with zipfile.ZipFile("meter.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(compress(), 3, "checkpoint-damaged", "meter.ckpt")


def test_a_pickle_without_tensors(workshop):
    torch.save({"epoch": 3, "best": [1, 2]}, "meter.ckpt")
    refused(compress(), 3, "checkpoint-without-tensors", "meter.ckpt")


class Hostile:
    """Runs a command when it is unpickled by anyone less careful."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class HostileEval:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return eval, (f"open({self.marker!r}, 'w').close()",)


@pytest.mark.parametrize("kind", [Hostile, HostileEval])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_nothing_runs(workshop, tmp_path, kind, zipped):
    marker = tmp_path / "owned"
    content = {"state_dict": {"weight": torch.ones(2)}, "callbacks": kind(marker)}
    torch.save(content, "meter.ckpt", _use_new_zipfile_serialization=zipped)
    refused(compress(), 3, "checkpoint-unsafe", "meter.ckpt")
    assert not marker.exists()


def test_a_plain_hostile_pickle(workshop, tmp_path):
    (workshop / "meter.ckpt").write_bytes(pickle.dumps(Hostile(tmp_path / "owned")))
    refused(compress(), 3, "other-format", "meter.ckpt")
    assert not (tmp_path / "owned").exists()


class SomeoneElses:
    """A class that the reading process does not have."""

    def __init__(self):
        self.value = 3


def test_foreign_classes_become_inert_placeholders(tmp_path, monkeypatch):
    checkpoint = read_checkpoint(GOLDEN / "lightning_full_layout.ckpt")
    assert len(checkpoint.state) == 2
    # An instance, not only a reference, of a class that cannot be imported any more.
    monkeypatch.setattr(SomeoneElses, "__module__", "pytorch_lightning.callbacks.elsewhere", raising=False)
    fake = type(sys)("pytorch_lightning.callbacks.elsewhere")
    fake.SomeoneElses = SomeoneElses
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    torch.save({"state_dict": {"weight": torch.arange(3.0)}, "callbacks": SomeoneElses()}, tmp_path / "old.ckpt")
    monkeypatch.delitem(sys.modules, fake.__name__)
    assert torch.equal(read_checkpoint(tmp_path / "old.ckpt").state["weight"], torch.arange(3.0))


def test_a_vilt_given_as_meter_has_another_head(workshop):
    shutil.copyfile(GOLDEN / "vilt_tiny_irtr.ckpt", "meter.ckpt")
    refused(compress(), 3, "head-missing", "vqa", ": irtr, itm")


def test_a_model_of_no_family_is_told_what_was_looked_for(workshop):
    torch.save({"state_dict": {"encoder.weight": torch.ones(2)}}, "meter.ckpt")
    looked_for = ("meter: cross_modal_text_transform.weight", "vilt: text_embeddings.word_embeddings.weight")
    refused(
        compress(), 3, "unknown-model", "encoder.weight", *looked_for, "config.json with model_type vilt, roberta, bert"
    )


def test_a_hugging_face_folder_of_another_kind_of_model(workshop):
    folder = workshop / "gpt2"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file({"wte.weight": torch.ones(4, 2)}, folder / "model.safetensors")
    for command in (("inspect",), ("eval",), ("compress", "--skip", 1)):
        done = das(command[0], folder, *command[1:])
        refused(done, 3, "model-generates", "of model_type gpt2", "one of: vilt, roberta, bert")
        assert "cross_modal" not in done.stderr


def test_a_checkpoint_of_two_families_at_once(workshop):
    states = [
        torch.load(GOLDEN / f"{name}_tiny_vqa.ckpt", weights_only=True)["state_dict"] for name in ("meter", "vilt")
    ]
    torch.save({"state_dict": states[0] | states[1]}, "meter.ckpt")
    refused(
        compress(), 3, "family-ambiguous", "meter (METER's or DAS's public code)", "vilt (ViLT's or DAS's public code)"
    )


def test_missing_head(workshop):
    shutil.copyfile(GOLDEN / "meter_tiny_nlvr2.ckpt", "meter.ckpt")
    refused(compress(), 3, "head-missing", "vqa", ": nlvr2", "--adapt")


def test_missing_keys_are_listed(workshop):
    content = torch.load("meter.ckpt", weights_only=True)
    del content["state_dict"]["cross_modal_text_layers.3.output.dense.weight"]
    del content["state_dict"]["vit_model.visual.transformer.resblocks.1.attn.in_proj_bias"]
    torch.save(content, "meter.ckpt")
    refused(
        compress(),
        3,
        "tensors-missing",
        " 2 keys",
        "cross_modal_text_layers.3.output.dense.weight",
        "resblocks.1.attn.in_proj_bias",
    )


def test_a_missing_key_that_sizes_are_read_from(workshop):
    content = torch.load("meter.ckpt", weights_only=True)
    del content["state_dict"]["text_transformer.embeddings.position_embeddings.weight"]
    torch.save(content, "meter.ckpt")
    refused(compress(), 3, "tensors-missing", "position_embeddings.weight")


def test_misshapen_tensors_are_listed(workshop):
    content = torch.load("meter.ckpt", weights_only=True)
    content["state_dict"]["cross_modal_text_pooler.dense.weight"] = torch.zeros(3, 3)
    torch.save(content, "meter.ckpt")
    refused(compress(), 3, "tensors-misshapen", "cross_modal_text_pooler.dense.weight (3, 3)")


def changed(name, **state):
    """A golden checkpoint with some of its tensors changed, or taken away, as meter.ckpt."""
    content = torch.load(GOLDEN / f"{name}.ckpt", weights_only=True)
    content["state_dict"] = {k: v for k, v in (content["state_dict"] | state).items() if v is not None}
    torch.save(content, "meter.ckpt")


ATTENTION = "vit_model.visual.transformer.resblocks.0.attn.in_proj_weight"


@pytest.mark.parametrize(
    ("key", "shape", "code", "word"),
    [
        (ATTENTION, (193, 64), "model-does-not-fit-together", f"{ATTENTION} (193, 64) does not split into 3"),
        (ATTENTION, (), "model-does-not-fit-together", f"{ATTENTION} () does not split"),
        (ATTENTION, (96, 64), "tensors-misshapen", ATTENTION),
        ("token_type_embeddings.weight", (1, 32), "model-does-not-fit-together", "image_types"),
        ("vit_model.visual.conv1.weight", (64,), "tensors-misshapen", "meter.ckpt"),
        ("vit_model.visual.conv1.weight", (), "model-does-not-fit-together", "meter.ckpt"),
        ("vit_model.visual.conv1.weight", (64, 3, 0, 0), "model-does-not-fit-together", "meter.ckpt"),
        ("vit_model.visual.conv1.weight", (63, 3, 16, 16), "model-does-not-fit-together", "meter.ckpt"),
        ("vit_model.visual.positional_embedding", (0, 64), "model-does-not-fit-together", "meter.ckpt"),
        (
            "vit_model.visual.positional_embedding",
            (11, 64),
            "tensors-misshapen",
            "vit_model.visual.positional_embedding (11, 64)",
        ),
        ("cross_modal_text_transform.weight", (32,), "model-does-not-fit-together", "meter.ckpt"),
        ("cross_modal_text_transform.weight", (32, 32, 1), "model-does-not-fit-together", "meter.ckpt"),
        ("cross_modal_text_transform.weight", (0, 0), "model-does-not-fit-together", "meter.ckpt"),
        (
            "text_transformer.embeddings.position_embeddings.weight",
            (2, 32),
            "model-does-not-fit-together",
            "text_length",
        ),
        ("adapter_list_l.3.0.down_proj.weight", (12,), "model-does-not-fit-together", "meter.ckpt"),
        (
            "adapter_list_l.3.0.down_proj.weight",
            (12, 16),
            "tensors-misshapen",
            "adapter_list_l.3.0.down_proj.weight (12, 16)",
        ),
        ("adapter_list_l.3.0.down_proj.weight", None, "tensors-missing", "adapter_list_l.3.0.down_proj.weight"),
        ("adapter_list_l.3.0.up_proj.bias", None, "tensors-missing", "1 keys: adapter_list_l.3.0.up_proj.bias"),
        (
            "cross_modal_text_layers.0.adapter.down_proj.weight",
            None,
            "tensors-missing",
            "1 keys: cross_modal_text_layers.0.adapter",
        ),
    ],
)
def test_shapes_that_make_no_model(workshop, key, shape, code, word):
    changed("das_meter_tiny_vqa", **{key: None if shape is None else torch.zeros(shape)})
    refused(das("inspect", "meter.ckpt"), 3, code, word)


def test_an_adapter_in_a_single_layer(workshop):
    shutil.copyfile(GOLDEN / "meter_tiny_vqa.ckpt", "meter.ckpt")
    adapter = "cross_modal_text_layers.1.adapter."
    state = torch.load("meter.ckpt", weights_only=True)["state_dict"]
    hidden = len(state["cross_modal_text_transform.weight"])
    changed("meter_tiny_vqa", **{adapter + "down_proj.weight": torch.zeros(4, hidden)})
    refused(
        das("inspect", "meter.ckpt"),
        3,
        "tensors-missing",
        "lacks",
        "cross_modal_image_layers.0.adapter.adapter_layer_norm_before",
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_heads", 7),
        ("num_heads", 0),
        ("num_heads", -2),
        ("num_heads", None),
        ("num_heads", "x"),
        ("num_heads", [2]),
        ("num_heads", float("inf")),
        ("max_text_len", "long"),
        ("max_text_len", 0),
        ("drop_rate", None),
        ("drop_rate", 1.5),
        ("drop_rate", float("nan")),
    ],
)
def test_settings_that_make_no_model(workshop, setting, value):
    content = torch.load(GOLDEN / "meter_tiny_vqa.ckpt", weights_only=True)
    content["hyper_parameters"]["config"][setting] = value
    torch.save(content, "meter.ckpt")
    refused(das("inspect", "meter.ckpt"), 3, "model-does-not-fit-together", "meter.ckpt", "make no meter")


def compress_sentences(*arguments):
    return das("compress", "roberta", "--skip", 1, *arguments)


def test_a_task_that_the_family_has_no_head_for(sentences):
    for command in ("inspect", "eval"):
        refused(
            das(command, "roberta", "--task", "vqa"),
            2,
            "unknown-task",
            "'vqa' for roberta",
            "--task text-classification",
        )
    refused(compress_sentences("--task", "nlvr2", "--adapt"), 2, "unknown-task", "'nlvr2' for roberta")


def test_an_image_size_for_a_model_that_reads_none(sentences):
    refused(compress_sentences("--image-size", 384), 2, "image-size-without-images", "roberta")


def test_sizes_that_the_model_cannot_have_are_reported_at_once(workshop, sentences):
    refused(
        compress_sentences("--text-length", 9999),
        2,
        "text-length-impossible",
        "text length 9999",
        "tokens",
        "--text-length",
    )
    refused(
        compress_sentences("--text-length", 0, "--image-size", 9),
        2,
        ("image-size-without-images", "text-length-impossible"),
        "text length 0",
        "roberta",
    )
    refused(compress_sentences("--text-length", 2), 2, "text-length-too-small", "length of 2", "the 2 special tokens")


@pytest.mark.parametrize("command", ["compress", "search"])
def test_sizes_that_do_not_fit_the_patches(workshop, command):
    arguments = ("meter.ckpt", "--skip", 8, "--image-size", 50, "--text-length", 9999)
    refused(
        das(command, *arguments),
        2,
        ("image-size-impossible", "text-length-impossible"),
        "image size 50",
        "patch size 12",
        "text length 9999",
    )


def test_data_of_another_task_is_called_by_its_name(workshop, shared_sentences):
    folder = shared_sentences / "data"
    refused(
        compress("--data", folder), 3, "data-not-of-task", "data for text-classification", "--task text-classification"
    )


def test_sentences_of_more_classes_than_the_head_has(sentences):
    path = sentences / "data" / "train.tsv"
    path.write_text(path.read_text().replace("\t0", "\t7"))
    refused(compress_sentences(), 3, "label-beyond-head", "train.tsv", "label 7,", "2 classes")


def test_sentences_without_labels_are_listed(sentences):
    path = sentences / "data" / "train.tsv"
    path.write_text(path.read_text().replace("\t0", ""))
    refused(compress_sentences(), 3, "too-many-unusable-rows", "rows in data", "train.tsv, line", "1 columns, not 2")


def name_classes(path, *names):
    """Let a config.json call its classes so."""
    content = json.loads(path.read_text())
    content |= {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    path.write_text(json.dumps(content))


def test_a_model_that_names_its_classes_otherwise_than_the_data(sentences):
    for names in (("negative", "neutral"), ("neutral", "Negative")):
        name_classes(sentences / "roberta" / "config.json", *names)
        for command in (("compress", "--skip", 1), ("eval",)):
            result = das(command[0], "roberta", *command[1:])
            refused(result, 3, "classes-named-otherwise", ", ".join(names), "positive")


def test_classes_that_neither_the_model_nor_the_data_number(sentences):
    name_classes(sentences / "roberta" / "config.json", "LABEL_0", "LABEL_1")
    for split in ("train", "dev"):
        path = sentences / "data" / f"{split}.tsv"
        rows = path.read_text().splitlines()[1:]
        path.write_text("".join(row.replace("\t0", "\tneg").replace("\t1", "\tpos") + "\n" for row in rows))
    refused(compress_sentences(), 3, "classes-not-numbered", "neg, pos", "id2label")


def test_classes_in_another_order_than_the_data_are_found_by_name(sentences):
    before = json.loads(das("eval", "roberta", "--json").stdout)
    weights = sentences / "roberta" / "model.safetensors"
    name_classes(sentences / "roberta" / "config.json", "Positive", "NEGATIVE")
    head = {name: value.flip(0) if "out_proj" in name else value for name, value in load_file(weights).items()}
    save_file(head, weights)
    assert json.loads(das("eval", "roberta", "--json").stdout)["value"] == before["value"]


def test_the_split_that_is_scored_is_enough(sentences):
    before = json.loads(das("eval", "roberta", "--json").stdout)
    (sentences / "data" / "train.tsv").unlink()
    assert json.loads(das("eval", "roberta", "--json").stdout) == before
    refused(compress_sentences(), 3, "split-missing", "add train.tsv")


def test_a_run_given_where_a_checkpoint_belongs(run_here):
    for command in (("compress", "--skip", 1), ("search", "--skip", 1), ("inspect",)):
        result = das(command[0], run_here, *command[1:])
        stopped(result, 3, "run-instead-of-checkpoint", run_here)
    assert [path.name for path in run_here.parent.iterdir() if path.name != "latest"] == [run_here.name]


def test_predict_with_other_pictures_or_texts_than_the_task_has(run_here):
    picture, question = ("--image", "scene.png"), ("--text", "what?")
    images, texts = "wrong-number-of-images", "wrong-number-of-texts"
    for given, codes, values in (
        ((), (images, texts), ("0 images for vqa", "0 texts for vqa", '--text "..."')),
        (question, images, ("0 images for vqa", "1 image", "--image FILE")),
        ((*picture, *picture, *question), images, ("2 images for vqa",)),
        ((*picture, *question, "--text", " "), "text-empty", ()),
        ((*picture, *question, "--text", "caf\udce9?"), "text-not-utf8", (r"'caf\udce9?'",)),
        ((*picture, *question, "--top", 0), "top-too-small", ("--top 0", "at least 1")),
    ):
        stopped(das("predict", *given), 2, codes, *values)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--family", "nope"), "unknown-family", ("--family nope", "one of meter, vilt, roberta, bert")),
        (("--family", "bert", "--task", "vqa"), "unknown-task", ("--task vqa for bert", "one of text-classification")),
        (("--task", "captioning"), "unknown-task", ("--task captioning for meter", "one of vqa, nlvr2, irtr, snli-ve")),
        (("--skip", 13), "skip-impossible", ("--skip 13 of 12 layers", "1 to 12")),
        (("--family", "bert", "--skip", 0), "skip-impossible", ("--skip 0 of 6 layers", "1 to 6")),
    ],
)
def test_a_demo_that_there_is_none_of(tmp_path, monkeypatch, options, code, words):
    monkeypatch.chdir(tmp_path)
    refused(das("demo", *options), 2, code, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["compress", "search", "inspect", "eval"])
def test_a_folder_that_is_no_model(workshop, command):
    (workshop / "folder").mkdir()
    options = ("--skip", 1) if command in ("compress", "search") else ()
    refused(das(command, "folder", *options), 3, "weights-missing", "folder", "model.safetensors")


def test_no_data_lists_the_places_looked_at(workshop):
    shutil.rmtree("data")
    refused(compress(), 3, "data-folder-missing", "$DAS_DATA", "./data", "the checkpoint")


def test_no_tables_in_the_data_folder(workshop):
    for path in (workshop / "data").iterdir():
        path.unlink()
    refused(compress(), 3, "data-not-of-task", "data for vqa", "vqav2_train.arrow", "docs/data.md")


@pytest.mark.parametrize("damage", [b"", b"not arrow", "half"])
def test_corrupt_table(workshop, damage):
    path = workshop / "data" / "vqav2_train.arrow"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    refused(compress(), 3, "not-arrow", "vqav2_train.arrow")


def test_table_of_another_task(workshop):
    write_table(workshop / "data" / "vqav2_train.arrow", {"image": [b""], "caption": [["a dog"]]})
    refused(compress(), 3, "column-missing", "column questions", "image, caption")


def test_table_without_rows(workshop):
    path = workshop / "data" / "vqav2_train.arrow"
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    write_table(path, {name: [] for name in table.column_names})
    refused(compress(), 3, "table-empty", "vqav2_train.arrow")


def test_labels_that_the_head_does_not_have(workshop):
    path = workshop / "data" / "vqav2_val.arrow"
    columns = pa.ipc.open_file(path.read_bytes()).read_all().to_pydict()
    columns["answer_labels"][0][0] = [3000]
    write_table(path, columns)
    refused(compress(), 3, "label-beyond-head", "label 3000")


def damage_images(path, rows, whole=0):
    """Keep only the first bytes of some images, and put nonsense after them."""
    columns = pa.ipc.open_file(path.read_bytes()).read_all().to_pydict()
    for row in rows:
        columns["image"][row] = columns["image"][row][:whole] + b"and then nonsense"
    write_table(path, columns)


def test_many_images_that_do_not_decode_are_listed(workshop):
    damage_images(workshop / "data" / "vqav2_test.arrow", range(20))
    listed = ("vqav2_test.arrow, row 0: the image does not decode", "vqav2_test.arrow, row 2: ", "and 17 more")
    refused(compress(), 3, "too-many-unusable-rows", "20 of", "rows in data", *listed, "1%")


@pytest.mark.parametrize("whole", [0, 8, 200])
def test_a_single_image_that_does_not_decode_is_left_out_and_said(workshop, whole):
    damage_images(workshop / "data" / "vqav2_test.arrow", [7], whole)
    result = das("compress", "meter.ckpt", "--layers", "FL1", "--recover", "none", "--json")
    said = "vqav2_test.arrow, row 7: the image does not decode"
    assert said in " ".join(result.stderr.split())
    (test,) = (split for split in json.loads(result.stdout)["data"] if split["name"] == "test")
    assert len(test["unreadable"]) == 1
    assert test["unreadable"][0].startswith(said)


def test_no_tokenizer(workshop):
    (workshop / "tokenizer.json").unlink()
    refused(compress(), 3, "tokenizer-missing", "--tokenizer")


def test_a_tokenizer_of_another_model(workshop):
    tokenizer = (workshop / "tokenizer.json").read_text().replace('"yellow": ', '"unseen": 99, "yellow": ')
    (workshop / "tokenizer.json").write_text(tokenizer)
    refused(compress(), 3, "tokenizer-too-large", "37 tokens", " 36 ")


@pytest.mark.parametrize("k", [0, -3])
def test_k_that_skips_nothing(workshop, k):
    refused(
        das("compress", "meter.ckpt", "--task", "vqa", "--skip", k), 2, "skip-too-small", f"--skip {k}", "at least 1"
    )


def test_k_larger_than_the_scope(workshop):
    refused(
        das("compress", "meter.ckpt", "--task", "vqa", "--skip", 13),
        2,
        "skip-too-large",
        "13 of 12",
        "FL0-5, FV0-5",
        "global",
    )


@pytest.mark.parametrize(("option", "value"), [("--layers", "FL9"), ("--scope", "FL9")])
def test_unknown_layer_suggests_the_nearest(workshop, option, value):
    skip = () if option == "--layers" else ("--skip", 1)
    refused(das("compress", "meter.ckpt", "--task", "vqa", *skip, option, value), 2, "unknown-layer", "'FL9'", "FL5")


def test_all_usage_problems_at_once(workshop):
    result = das("compress", "meter.ckpt", "--task", "vqaa", "--skip", 0, "--strategy", "magic", "--batch-size", 0)
    refused(
        result,
        2,
        ("skip-too-small", "unknown-strategy", "unknown-task", "batch-size-too-small"),
        "--task vqaa",
        "--skip 0",
        "--strategy magic",
        "--batch-size 0",
    )


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--learning-rate", "-1", "learning-rate-not-positive"),
        ("--learning-rate", "0", "learning-rate-not-positive"),
        ("--learning-rate", "nan", "learning-rate-not-positive"),
        ("--seed", "-1", "seed-negative"),
        ("--seed", "99999999999999999999", "seed-too-large"),
        ("--recover-epochs", "-1", "epochs-not-positive"),
        ("--recover-epochs", "0", "epochs-not-positive"),
        ("--recover-epochs", "inf", "epochs-not-positive"),
        ("--search-epochs", "0", "epochs-not-positive"),
        ("--search-epochs", "0.001", "search-too-short"),
        ("--recover-epochs", "0.001", "recovery-too-short"),
    ],
)
def test_numbers_that_make_no_sense(workshop, option, value, code):
    refused(compress(option, value, "--strategy", "das"), 2, code, option)


def test_a_recovery_that_there_is_none_of(workshop):
    refused(compress("--recover", "magic"), 2, "unknown-recovery", "--recover magic", "train, full, closed-form, none")


def test_a_head_without_training_says_nothing_about_layers(workshop):
    result = compress("--adapt", "--strategy", "auto")
    refused(result, 2, "strategy-with-adapt", "--strategy auto", "--adapt", "fix: drop --strategy")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--replace", "magic"), "unknown-replacement"),
        (("--replace", "none"), "recovery-without-adapters"),
        (("--replace", "none", "--recover", "closed-form"), "recovery-without-adapters"),
        (("--replace", "none", "--recover", "full", "--strategy", "das"), "search-trains-adapters"),
        (("--recover", "full", "--adapt"), "adapt-with-full"),
        (("--recover", "full", "--train-head"), "train-head-without-training"),
    ],
)
def test_what_stands_in_place_of_layers_and_what_is_trained_fit_together(workshop, options, code):
    refused(compress(*options), 2, code, options[1])


@pytest.mark.parametrize("options", [("--recover", "closed-form"), ("--recover", "none", "--layers", "FL0")])
def test_what_is_adapted_has_to_be_trained(workshop, options):
    skip = () if "--layers" in options else ("--skip", 2)
    result = das("compress", "meter.ckpt", "--task", "vqa", "--adapt", *skip, *options)
    refused(result, 2, "adapt-without-training", "--adapt", " ".join(options[:2]))


def test_a_search_alone_is_for_a_number_of_layers(workshop):
    refused(das("search", "meter.ckpt", "--task", "vqa"), 2, "goal-missing", "--skip")


def test_too_many_subsets_to_try_them_all(workshop, monkeypatch):
    monkeypatch.setattr("compressor.jobs.check_work.MOST_SUBSETS", 400)
    result = compress("--strategy", "exhaustive")
    refused(
        result, 2, "too-many-subsets", "--strategy exhaustive", "495", "12 layers", "at most 400", "--strategy auto"
    )


@pytest.mark.parametrize("option", [("--scope", "all"), ("--strategy", "auto"), ("--holdout", "val")])
def test_options_of_the_search_beside_layers_by_hand(workshop, option):
    result = das("compress", "meter.ckpt", "--task", "vqa", "--layers", "FL1", *option)
    refused(result, 2, "search-beside-layers", option[0], "--layers")


def test_settings_that_do_not_exist_are_all_named():
    with pytest.raises(UsageError) as error:
        make_settings(checkpoint="meter.ckpt", skip=8, layer=["FL1"], recover_epoch=1)
    assert error.value.codes == ("unknown-setting", "unknown-setting")


def test_names_with_square_brackets_are_shown_as_they_are(workshop):
    refused(das("inspect", "nope[red].ckpt"), 3, "checkpoint-missing", "nope[red].ckpt")
    refused(das("inspect", "[/x].ckpt"), 3, "checkpoint-missing", "[/x].ckpt")


def test_a_demo_never_replaces_what_it_did_not_make(workshop):
    before = (workshop / "meter.ckpt").read_bytes()
    refused(das("demo", workshop), 3, "folder-exists", workshop)
    assert (workshop / "meter.ckpt").read_bytes() == before


def test_dry_run_checks_the_output_folder(workshop):
    (workshop / "file").write_text("")
    refused(compress("--dry-run", "--out", "file/run"), 5, "cannot-write", "file")


@pytest.mark.parametrize("name", ["labels.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", "{not json", "7"])
def test_damaged_side_files_of_a_run(run_here, name, content):
    (run_here / name).write_text(content)
    result = das("predict", "--image", "scene.png", "--question", "how many things are there?")
    stopped(result, 3, "run-incomplete", name)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"schema_version": 2', '"schema_version": 99', "schema-too-new"),
        ('"schema_version": 2', '"schema_version": 1', "schema-too-old"),
        ('"family": "meter"', '"family": "retem"', "family-missing"),
        ('"hidden": 40', '"hidden": "wide"', "manifest-damaged"),
        ('"text_length": ', '"text_length": 9', "manifest-damaged"),
    ],
)
def test_manifests_of_another_das(run_here, old, new, code):
    manifest = run_here / "manifest.json"
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    stopped(das("eval", run_here), 3, code, "manifest.json")


def test_cuda_without_a_gpu(workshop):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(compress("--device", "cuda"), 5, "no-cuda-device", "--device cpu")


def test_output_folder_that_cannot_be_written(workshop):
    (workshop / "file").write_text("not a folder")
    refused(compress("--out", "file/run"), 5, "cannot-write", "file")
    assert (workshop / "file").read_text() == "not a folder"


def test_output_folder_that_exists_is_left_alone(workshop):
    (workshop / "mine").mkdir()
    (workshop / "mine" / "thesis.txt").write_text("years of work")
    refused(compress("--out", "mine"), 3, "folder-exists", "mine")
    assert (workshop / "mine" / "thesis.txt").read_text() == "years of work"


FULL_DISK = """
import resource, sys
from das.main import app
import compressor.jobs.prepare_job, compressor.compression  # compiled before the limit: Python writes caches, too
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
app(["compress", "meter.ckpt", "--task", "vqa", "--layers", "FL1", "--recover", "none", "--out", "runs/full"])
"""


def test_full_disk_leaves_nothing_that_looks_finished(workshop):
    # A limit on the size of files is what a full disk looks like to a program, without filling one.
    done = subprocess.run([sys.executable, "-c", FULL_DISK], capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "error: cannot-write" in done.stderr
    assert "Traceback" not in done.stderr
    assert "--resume" in done.stderr
    assert [path.name for path in (workshop / "runs").iterdir()] == ["full.partial"]  # what can be gone on from


def test_run_that_is_none(workshop):
    refused(das("export", "runs/nothing"), 3, "run-missing", "runs/nothing", "das compress")
    refused(das("profile"), 3, "run-missing", "runs/latest")


def test_damaged_manifest(run_here):
    (run_here / "manifest.json").write_text('{"schema_version": 2}')
    result = das("eval", run_here)
    stopped(result, 3, "manifest-damaged", "manifest.json")


def test_damaged_weights(run_here):
    content = (run_here / "model.safetensors").read_bytes()
    (run_here / "model.safetensors").write_bytes(content[: len(content) // 2])
    result = das("eval", run_here)
    stopped(result, 3, "run-incomplete", "model.safetensors")


def test_wrong_weights(run_here):
    shutil.copyfile(run_here / "samples.safetensors", run_here / "model.safetensors")
    result = das("eval", run_here)
    stopped(result, 3, "weights-do-not-fit-manifest", "model.safetensors")


def test_predict_without_a_picture(run_here):
    (run_here / "note.txt").write_text("no picture")
    asked = ("--question", "what?")
    stopped(das("predict", "--image", "gone.png", *asked), 3, "image-missing", "gone.png")
    stopped(das("predict", "--image", run_here / "note.txt", *asked), 3, "image-does-not-decode", "note.txt")
    stopped(das("predict", "--image", "scene.png", *asked, "--runtime", "abacus"), 2, "unknown-runtime", "abacus")
    stopped(das("predict", "--image", "scene.png", *asked, "--runtime", "onnx"), 3, "export-missing", "model.onnx")


def test_checkpoint_that_changed_since_it_was_compressed(run_here, monkeypatch):
    manifest = (run_here / "manifest.json").read_text()
    changed = manifest.replace('"sha256": "', '"sha256": "00')
    (run_here / "manifest.json").write_text(changed)
    result = das("profile", run_here)
    stopped(result, 3, "checkpoint-changed", "meter.ckpt")


def test_internal_errors_are_called_bugs_and_write_a_log(workshop, monkeypatch):
    monkeypatch.setattr("compressor.jobs.prepare_job.checkpoint_sha256", lambda path: 1 / 0)
    result = compress()
    assert result.exit_code == 1
    assert "a bug in das" in result.stderr
    assert "Traceback" not in result.stderr
    assert "ZeroDivisionError" in next(workshop.glob("das-error-*.log")).read_text()


def test_input_errors_reach_python_users_as_one_type():
    with pytest.raises(InputError):
        read_checkpoint("nowhere.ckpt")
