"""Image-text matching: pairs with labels, captions with images of others, and a BLIP through the commands."""

import json
from collections import Counter

import pytest
import torch
from transformers import BlipForImageTextRetrieval

import das as api
from compressor.checkpoints.build import load_checkpoint
from compressor.data.generated.captions import write_retrieval
from compressor.data.generated.matched_captions import write_matches
from compressor.data.read_data import read_data
from compressor.errors import InputError
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from tests.support import tiny_blip
from tests.support import tiny_towers as towers
from tests.support.command_line import das, refused, stopped

LABELS = ("no match", "match")


def test_generated_captions_match_if_what_they_say_is_there(tmp_path):
    write_matches(tmp_path, 200, 0)
    found = read_data(tmp_path, "itm")
    assert (found.labels, {*found.splits}) == (LABELS, {"train", "val", "test"})
    train = found.splits["train"].samples
    assert len(train) == 800 and 0.4 < sum(sample.labels[0] for sample in train) / 800 < 0.6


@pytest.mark.parametrize("written", ["match", "1", "True", "yes"])
def test_labels_are_read_however_they_are_written(tmp_path, written):
    write_matches(tmp_path, 1, 0)
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text(f"text,image,match\na,images/train_0.png,{written}\n")
    assert [sample.labels for sample in read_data(tmp_path, "itm").splits["train"].samples] == [(1,)]


def test_captions_with_their_images_are_there_with_images_of_others_too(tmp_path):
    write_retrieval(tmp_path, 12, 0)
    found, plain = read_data(tmp_path, "itm"), read_data(tmp_path, "irtr")
    assert found.labels == LABELS and "no match" in found.notes[-1]
    for split, records in plain.splits.items():
        both = found.splits[split].samples
        assert [sample.text for sample in both[::2]] == [sample.text for sample in records.samples]
        assert [sample.text for sample in both[1::2]] == [sample.text for sample in records.samples]
        assert {sample.labels for sample in both[::2]} == {(1,)} and {sample.labels for sample in both[1::2]} == {(0,)}
        for right, wrong, own in zip(both[::2], both[1::2], records.samples, strict=True):
            assert right.images[0].name == own.images[0].name != wrong.images[0].name
        assert Counter(s.images[0].name for s in both[1::2]) == Counter(s.images[0].name for s in records.samples)
    again = read_data(tmp_path, "itm").splits["train"].samples
    assert [s.images[0].name for s in again] == [s.images[0].name for s in found.splits["train"].samples]


def test_captions_of_one_image_have_no_other_to_differ_from(tmp_path):
    write_retrieval(tmp_path, 1, 0)
    with refused(InputError, "no-other-image", "one image alone", "pairs with a label"):
        read_data(tmp_path, "itm")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip")
    write_matches(folder / "data", 8, 0)
    return towers.save(tiny_blip.blip(), folder, 0), folder / "data"


def test_a_blip_goes_through_the_commands(made, tmp_path, monkeypatch):
    checkpoint, data = made
    monkeypatch.chdir(tmp_path)
    kept = ("--layers", "VEn0,FL1", "--replace", "none", "--recover", "full", "--recover-epochs", 0.5, "--out", "run")
    done = das("compress", checkpoint, "--data", data, "--batch-size", 8, *kept, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["task"], report["slim"]["metric"]) == ("itm", "accuracy")
    assert {"vision", "fusion-language"} <= {*report["costs"]["macs_by_pool"]}
    run = open_run("run")
    saved = api.save(run, to=tmp_path / "saved")
    library = BlipForImageTextRetrieval.from_pretrained(tmp_path / "saved").eval()
    assert (saved.loader, library.config.vision_config.num_hidden_layers) == ("BlipForImageTextRetrieval", 1)
    assert library.config.text_config.num_hidden_layers == 1
    inputs = run.samples()
    with torch.no_grad():
        torch.testing.assert_close(
            library(**inputs).itm_score, run.answers()["slim"][: len(inputs["input_ids"])], atol=1e-5, rtol=0
        )
        assert not library(**inputs, use_itm_head=False).itm_score.any()  # the head that was left out is not as good
    assert len(load_checkpoint(tmp_path / "saved").model.layers) == 2
    image = next((data / "images").glob("test_*"))
    told = das("predict", "run", "--image", image, "--text", "there is a circle", "--json")
    assert {answer["answer"] for answer in json.loads(told.stdout)["answers"]} == {*LABELS}


def test_adapters_have_no_place_in_two_lists_of_layers_nor_ranking_in_the_library(made, tmp_path, monkeypatch):
    checkpoint, data = made
    monkeypatch.chdir(tmp_path)
    write_retrieval(tmp_path / "captions", 12, 0)
    quick = ("--layers", "FL0", "--recover", "closed-form")
    for task, folder, code in (
        ("itm", data, "adapters-have-no-place"),
        ("irtr", "captions", "no-class-in-transformers"),
    ):
        done = das("compress", checkpoint, "--task", task, "--data", folder, *quick, "--out", task)
        assert done.exit_code == 0, done.stderr
        stopped(das("save", task, "--to", f"saved-{task}"), 3, code)


def test_maps_are_merged_into_vision_layers_and_not_into_those_that_end_in_a_norm(made, tmp_path):
    checkpoint, data = made
    asked = ("--data", data, "--skip", 1, "--replace", "merged", "--recover", "closed-form", "--out", tmp_path / "run")
    stopped(das("compress", checkpoint, *asked), 2, "layers-absorb-nothing", "FL0-1 of blip", "--scope VEn*")
    done = das("compress", checkpoint, *asked, "--scope", "vision")
    assert done.exit_code == 0, done.stderr
    assert not api.save(open_run(tmp_path / "run"), to=tmp_path / "saved").trust_remote_code


def test_matching_is_of_every_family_with_such_a_head():
    from compressor.families import FAMILIES

    assert [name for name, family in FAMILIES.items() if TASKS["itm"].name in family.heads] == ["meter", "vilt", "blip"]
