"""Retrieval by vectors of two towers: recall both ways, losses, each text and image encoded once, all commands."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, CLIPModel

import das as api
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.data.generated.pictures import write_pictures
from compressor.data.generated.scenes import SHAPES
from compressor.data.read_data import read_data
from compressor.data.roles import make_scored
from compressor.errors import InputError
from compressor.evaluation.evaluate import collect_outputs, evaluate
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from compressor.tasks.towers.tower_losses import distance, tower_closeness
from compressor.tasks.towers.tower_measures import measure_classes, measure_retrieval, recall_across
from tests.support import tiny_towers as towers
from tests.support.command_line import das, refused, stopped

TASK = TASKS["retrieval"]


class Owned:
    """A split of which only the images of the captions are known."""

    def __init__(self, *owners):
        self.owners = np.array(owners)


def unit(*degrees):
    """Vectors of length 1 at these angles."""
    angles = torch.tensor(degrees, dtype=torch.double).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], -1)


def test_recalls_are_those_worked_by_hand():
    # Images at 0, 90 and 180 degrees; two captions of the first, of which one is nearest to the second image.
    vectors = torch.stack([unit(10, 80, 95, 100), unit(0, 0, 90, 180)], 1)
    found = measure_retrieval(vectors, Owned(0, 0, 1, 2))
    assert found.parts["IR R@1"] == 2 / 4 and found.parts["TR R@1"] == pytest.approx(3 / 3)
    assert found.value == pytest.approx((2 / 4 + 1) / 2)
    assert found.each.tolist() == pytest.approx([(1 + 3 / 4) / 2, (1 + 3 / 4) / 2, 1 / 2])
    assert found.each.mean() == pytest.approx(found.value) and found.samples == 4


def test_recall_across_is_of_slim_texts_among_full_images():
    full = torch.stack([unit(*range(0, 360, 18)), unit(*range(0, 360, 18))], 1)  # 20 images, a caption each
    turned = torch.stack([unit(*range(180, 540, 18)), full[:, 1]], 1)
    split = Owned(*range(20))
    found = recall_across(full, turned, split)
    assert (found.full_on_full, found.slim_on_full, found.slim_on_slim) == (1.0, 0.0, 0.0)
    assert (found.queries, found.documents, found.sought) == (20, 20, "images of captions")
    few = recall_across(full, full, None)
    assert few.slim_on_full == 1.0 and few.sought == "the full model's 10 nearest images"


def test_the_loss_is_nothing_at_the_full_model_and_feels_how_the_batch_ranks():
    full = F.normalize(torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert float(distance(full, full)) == pytest.approx(0, abs=1e-6)
    assert tower_closeness(full, {"targets": full}).tolist() == pytest.approx([1.0] * 5)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    both, one = full @ turn, torch.stack([full[:, 0] @ turn, full[:, 1]], 1)
    apart = 1 - F.cosine_similarity(both, full, dim=-1).mean()
    assert float(distance(both, full)) == pytest.approx(float(apart), abs=1e-5)  # both turned alike: ranks stay
    assert float(distance(one, full)) > 1


def labelled(texts, labels):
    """A split of which only sentences and classes are known."""
    return SimpleNamespace(
        samples=[SimpleNamespace(text=text, labels=(label,)) for text, label in zip(texts, labels, strict=True)]
    )


def test_an_image_is_of_the_class_whose_sentences_are_nearest():
    # Sentences of class 3 at 0 and 40 degrees, their mean at 20; of class 5 at 90.
    vectors = torch.stack([unit(0, 40, 90, 90), unit(50, 60, 80, 30)], 1).float()
    found = measure_classes(vectors, labelled(("a", "b", "c", "c"), (3, 3, 5, 5)))
    assert found.each.tolist() == [1, 0, 1, 0] and found.value == 0.5 and found.parts == {"top-5 accuracy": 1.0}


def test_classes_of_one_sentence_are_not_told_apart():
    vectors = torch.stack([unit(0, 0), unit(0, 180)], 1).float()
    assert measure_classes(vectors, labelled(("a", "a"), (3, 5))).value == 0.5


def test_templates_are_dealt_to_the_images_of_a_class(tmp_path):
    write_pictures(tmp_path, 12, 0)
    (tmp_path / "templates.txt").write_text("a photo of a {}.\nthis is a {}\n")
    dataset = read_data(tmp_path, "zero-shot")
    told = {sample.text for sample in dataset.splits["train"].samples}
    assert told == {
        f"{start} {shape}{end}" for start, end in (("a photo of a", "."), ("this is a", "")) for shape in SHAPES
    }
    (tmp_path / "templates.txt").write_text("a photo\n")
    with refused(InputError, "template-without-place", "a photo", "one {}"):
        read_data(tmp_path, "zero-shot")


def test_a_clip_is_scored_without_training_on_labels(made, tmp_path):
    checkpoint, _ = made
    write_pictures(tmp_path, 12, 0)
    done = das("eval", checkpoint, "--task", "zero-shot", "--data", tmp_path, "--json")
    assert done.exit_code == 0, done.stderr
    score = json.loads(done.stdout)
    assert score["metric"] == "accuracy" and score["parts"] == {"top-5 accuracy": 1.0}  # of three classes
    library, classes = CLIPModel.from_pretrained(checkpoint).eval(), sorted(SHAPES)
    images = [path for name in classes for path in sorted((tmp_path / "test" / name).glob("*.png"))]
    square = CLIPImageProcessorPil(size={"shortest_edge": towers.SIDE}, crop_size=towers.SIDE)
    pixels = square([Image.open(path).convert("RGB") for path in images], return_tensors="pt")["pixel_values"]
    texts = [towers.WORDS.encode(f"a photo of a {name}.").ids for name in classes]
    padded = torch.tensor([[*ids, *[towers.PAD] * (towers.LENGTH - len(ids))] for ids in texts])
    with torch.no_grad():
        chosen = library(padded, pixels, (padded != towers.PAD).long()).logits_per_image.argmax(1)
    right = [classes[number] == path.parent.name for number, path in zip(chosen.tolist(), images, strict=True)]
    assert 0 < sum(right) < len(right) and score["value"] == pytest.approx(np.mean(right))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    return towers.save(towers.clip(), folder), folder / "data"


def test_each_text_and_each_image_is_encoded_once(made):
    checkpoint, data = made
    model = load_checkpoint(checkpoint, TASK.name).model
    words = find_tokenizer(None, checkpoint, None)
    transforms = FAMILIES[model.family].transforms(model.dims, words.tokenizer)
    split = make_scored(read_data(data, TASK.name), data, TASK, transforms, model.dims.classes).evaluation
    rows = {"text": 0, "image": 0}
    for name in rows:
        norm = model.epilogue.norms[name]
        norm.register_forward_hook(lambda module, given, out, name=name: rows.update({name: rows[name] + len(out)}))
    vectors = collect_outputs(model, split)
    assert rows == {"text": len({sample.text for sample in split.samples}), "image": len(split.gallery)}
    assert rows["image"] < len(split)
    with torch.no_grad():
        numbers = range(len(split) - 3, len(split))
        torch.testing.assert_close(vectors[numbers], model(**split.inputs(numbers)), atol=1e-5, rtol=0)
    score = evaluate(model, split, TASK).score
    assert (score.metric, score.samples, score.loss) == ("mean R@1", len(split), None)


def test_a_clip_goes_through_the_commands(made, tmp_path, monkeypatch):
    checkpoint, data = made
    monkeypatch.chdir(tmp_path)
    quick = ("--recover", "full", "--recover-epochs", 0.5, "--batch-size", 8, "--out", "run")
    done = das(
        "compress",
        checkpoint,
        "--task",
        TASK.name,
        "--data",
        data,
        "--max-macs",
        "0.6x",
        "--replace",
        "none",
        *quick,
        "--json",
    )
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["slim"]["metric"] == "mean R@1" and {*report["slim"]["parts"]} >= {"IR R@1", "TR R@10"}
    assert report["index"]["sought"] == "images of captions"
    macs = report["costs"]["macs"]
    assert macs["slim"] <= 0.6 * macs["full"] and {"language", "vision"} <= {*report["costs"]["macs_by_pool"]}
    run = open_run("run")
    saved = api.save(run, to=tmp_path / "saved")
    assert "its outputs are those of das within" in (tmp_path / "saved" / "README.md").read_text()
    library = CLIPModel.from_pretrained(tmp_path / "saved").eval()
    counts = [len(tower.encoder.layers) for tower in (library.text_model, library.vision_model)]
    slim = load_checkpoint(tmp_path / "saved", TASK.name).model
    assert (sum(counts), saved.loader) == (len(slim.layers), "CLIPModel") and sum(counts) < 4
    with torch.no_grad():
        answered = library(**run.samples())
        vectors = torch.stack([answered.text_embeds, answered.image_embeds], 1)
    assert float((vectors - run.answers()["slim"][: len(vectors)]).abs().max()) < 1e-5
    image = next((data / "images").glob("test_*"))
    told = das("predict", "run", "--image", image, "--text", "a red circle", "--json")
    assert -1 <= json.loads(told.stdout)["answers"][0]["score"] <= 1


def test_a_siglip_of_one_text_length_is_exported(tmp_path, monkeypatch):
    checkpoint, data = towers.save(towers.siglip(layers=(1, 2)), tmp_path), tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    done = das(
        "compress",
        checkpoint,
        "--task",
        TASK.name,
        "--data",
        data,
        "--layers",
        "VEn1",
        "--recover",
        "none",
        "--out",
        "run",
    )
    assert done.exit_code == 0, done.stderr
    stopped(das("profile", "run", "--sweep", "text-length=5,20"), 2, "text-length-fixed", "the 20 tokens")
    other = das("eval", checkpoint, "--task", TASK.name, "--data", data, "--text-length", 5)
    stopped(other, 2, "text-length-fixed", "the 20 tokens")
    done = das("export", "run", "--onnx", "--split", "--json")
    assert done.exit_code == 0, done.stderr
    exported, apart = json.loads(done.stdout)["exports"]
    assert {*apart["files"]} == {"text.onnx", "vision.onnx"} and apart["parity"]["status"] == "passed"
    samples, vectors = open_run("run").samples(), []
    for file, inputs in (("text.onnx", ["input_ids"]), ("vision.onnx", ["pixel_values"])):
        session = InferenceSession(f"run/exports/{file}")
        assert [entry.name for entry in session.get_inputs()] == inputs  # neither needs what the other reads
        vectors += session.run(None, {name: samples[name].numpy() for name in inputs})
    slim = open_run("run").answers()["slim"][: len(vectors[0])].numpy()
    np.testing.assert_allclose(np.stack(vectors, 1), slim, atol=1e-5)
    assert exported["parity"]["text_lengths"] == [towers.LENGTH] and exported["parity"]["status"] == "passed"
    assert exported["parity"]["certificate"]["index"]["sought"] == "the full model's 10 nearest images"


def test_layers_of_one_tower_and_texts_without_answers(made, tmp_path, monkeypatch):
    checkpoint, data = made
    monkeypatch.chdir(tmp_path)
    options = ("--skip", 1, "--scope", "text", "--replace", "merged", "--recover", "closed-form", "--out", "run")
    images = json.loads((data / "dataset.json").read_text())["images"]
    rows = [f"{data / 'images' / image['filename']},{image['sentences'][0]['raw']}" for image in images]
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "pairs.csv").write_text("\n".join(["image,caption", *rows]))
    done = das("compress", checkpoint, "--task", TASK.name, "--calibration", "inputs", *options, "--json")
    assert done.exit_code == 0, done.stderr
    assert {*json.loads(done.stdout)["skipped"]} <= {"LEn0", "LEn1"}
    stopped(
        das("compress", checkpoint, "--task", TASK.name, "--data", data, "--adapt", "--skip", 1),
        2,
        "task-without-head",
        "retrieval has no head to train",
    )
    tuned = das("tune", checkpoint, "--task", TASK.name, "--data", data, "--method", "bitfit")
    stopped(tuned, 2, "task-without-head", "fix: das compress without --adapt")
