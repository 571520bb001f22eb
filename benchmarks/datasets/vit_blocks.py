"""Real images: whole layers by das, with adapters and with merged maps, against halves of layers by onnxsim.

    python -m benchmarks.datasets.vit_blocks FOLDER_OF_EASYVQA --work work-vit

Needs scikit-learn, for its handwritten digits, and onnxsim. easy-VQA (MIT licence) is at github.com/vzhou842/easy-VQA,
folder ``easy_vqa/data``: an image is classified by the shape and colour that its questions ask for. A small ViT of 12
layers is trained from scratch on each set; then k = 2 and 4 layers go, nothing is trained, and every model is run in
ONNX Runtime. What was made is kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from PIL import Image

import das
from benchmarks.results import LogProgress, write_section
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.write import save_public_checkpoint
from compressor.costs.layer_macs import ATTENTION, NORMS, PRODUCTS, norm_macs
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.data.splits import Split
from compressor.families.image_settings import ALONE
from compressor.families.square_images import write_settings
from compressor.families.vision_encoder.vit import VIT, VitDims
from compressor.tasks.image_classification import IMAGE_CLASSIFICATION
from compressor.training.finetune import finetune
from profiles.formatting import format_markdown_table

LAYERS, SKIPS, CALIBRATION, SEED = 12, (2, 4), 32, 0
WAYS = ("adapter", "merged")
ROUNDS, CALLS = 30, 20  # of timing: in turns, the median of the rounds


@dataclass(frozen=True)
class DataSet:
    """A set of images: the sides of what the model sees and of a patch in pixels, and steps of training."""

    title: str
    side: int
    patch: int
    steps: int
    write: Callable[[Path], None]


def write_image(folder: Path, split: str, label: str, name: str, image: Image.Image) -> None:
    """Save an image in the folder of its class."""
    home = folder / split / label
    home.mkdir(parents=True, exist_ok=True)
    image.save(home / f"{name}.png")


def write_digits(folder: Path) -> None:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; every fifth is tested on, every tenth held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "test" if number % 5 == 0 else "val" if number % 10 == 1 else "train"
        image = Image.fromarray((pixels * 255 / 16).astype(np.uint8)).convert("RGB")
        write_image(folder, split, str(label), str(number), image)


def write_easyvqa(source: Path, folder: Path) -> None:
    """easy-VQA's pictures by their colour and shape, which the answers to its questions say; a tenth is held out."""
    for split in ("train", "test"):
        said: defaultdict[int, set[str]] = defaultdict(set)
        for _, answer, number in json.loads((source / split / "questions.json").read_text()):
            said[number] |= {answer} - {"yes", "no"}
        for number, words in said.items():
            if len(words) == 2:  # both were asked for
                part = "val" if split == "train" and number % 10 == 0 else split
                with Image.open(source / split / "images" / f"{number}.png") as image:
                    write_image(folder, part, "-".join(sorted(words)), str(number), image.convert("RGB"))


def train_full(kind: DataSet, home: Path) -> None:
    """Train the full model from scratch and write it as transformers does, with its image processor."""
    torch.manual_seed(SEED)
    dataset = read_data(home / "data", IMAGE_CLASSIFICATION.name)
    sizes = {"hidden_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 128}
    config = {"model_type": "vit", **sizes, "image_size": kind.side, "patch_size": kind.patch, "layer_norm_eps": 1e-6}
    dims = VitDims(config=config, classes=len(dataset.labels))
    model = VIT.build(dims, IMAGE_CLASSIFICATION.name)
    splits = make_splits(dataset, home / "data", IMAGE_CLASSIFICATION, VIT.transforms(dims, None), dims.classes)
    finetune(
        model, splits.train, IMAGE_CLASSIFICATION, steps=kind.steps, batch_size=64, learning_rate=2e-3, seed=SEED,
        progress=LogProgress(),
    )  # fmt: skip
    names = {"id2label": dict(enumerate(dataset.labels)), "architectures": ["ViTForImageClassification"]}
    save_public_checkpoint(model, home / "model", {**dims.config, **names})
    (home / "model" / ALONE).write_text(json.dumps(write_settings(dims)[ALONE]))


def compress_with_das(skip: int, way: str, name: str) -> dict[str, Any]:
    """Take layers out with das, nothing trained, and export the slim model."""
    run = das.compress(
        "model", skip=skip, data="data", out=name, replace=way, recover="closed-form", seed=SEED,
        progress=LogProgress(),
    )  # fmt: skip
    das.export(run, "onnx")
    shutil.copyfile(run.path / "exports" / "model.onnx", f"{name}.onnx")
    report = json.loads((run.path / "report.json").read_text())
    return {"macs": report["costs"]["macs"]["slim"], "gone": ", ".join(report["skipped"])}


class Logits(torch.nn.Module):
    """The library's model, which returns its logits alone."""

    def __init__(self, library: torch.nn.Module) -> None:
        super().__init__()
        self.library = library

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, classes)."""
        return self.library(pixel_values=pixel_values).logits


def export_full(split: Split) -> None:
    """The full model as a graph for one image: onnxsim finds no attention behind a batch that varies."""
    library = transformers.ViTForImageClassification.from_pretrained("model", attn_implementation="eager").eval()
    inputs = split.inputs([0])["pixel_values"]
    names = {"input_names": ["pixel_values"], "output_names": ["logits"]}
    options = {"opset_version": 20, "dynamo": True, "external_data": False, "verbose": False}
    torch.onnx.export(Logits(library), (inputs,), "full.onnx", **names, **options)


def halves_of(graph: onnx.ModelProto) -> tuple[int, int]:
    """How many attentions and how many feed-forward parts a graph has."""
    kinds = Counter(node.op_type for node in graph.graph.node)
    return kinds["Softmax"], kinds["Gelu"]


def count_macs(dims: VitDims, attentions: int, feed_forwards: int) -> int:
    """MACs of a ViT with so many halves of layers, by das's own formula."""
    patches = (dims.image_size // dims.patch,) * 2
    sizes = VIT.formula(dims, IMAGE_CLASSIFICATION.name, patches) if VIT.formula else None
    assert sizes
    place = sizes.places["vision"]
    feed_forward = place.tokens * 2 * dims.hidden * dims.ffn
    norm = norm_macs(place.tokens, dims.hidden)
    attention = place.whole[PRODUCTS] - feed_forward + place.whole[ATTENTION]
    ends = sum(sizes.prologue.values()) + sizes.head[PRODUCTS] + norm  # its norm is of every token
    assert place.whole[NORMS] == 2 * norm
    return ends + attentions * (attention + norm) + feed_forwards * (feed_forward + norm)


def prune_with_onnxsim(dims: VitDims, split: Split, most: int, name: str) -> dict[str, Any]:
    """Take out as few halves of layers as make a model of at most so many MACs."""
    import onnxsim

    full = onnx.load("full.onnx")
    samples = [{"pixel_values": split.inputs([number])["pixel_values"].numpy()} for number in range(CALIBRATION)]
    for count in range(1, 2 * LAYERS):
        pruned = onnxsim.apply_transformer_block_pruning(full, samples, num_blocks_to_drop=count)
        attentions, feed_forwards = halves_of(pruned)
        if (macs := count_macs(dims, attentions, feed_forwards)) <= most:
            break
    read = {tensor for node in pruned.graph.node for tensor in node.input}
    weights = [tensor for tensor in pruned.graph.initializer if tensor.name in read]
    del pruned.graph.initializer[:]
    pruned.graph.initializer.extend(weights)  # onnxsim leaves those of the removed parts in the file
    onnx.save(pruned, f"{name}.onnx")
    gone = f"{LAYERS - attentions} attentions, {LAYERS - feed_forwards} feed-forward parts"
    return {"macs": macs, "gone": gone}


def score(name: str, split: Split) -> float:
    """Accuracy of a graph in ONNX Runtime, an image a call."""
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    right = 0
    for number, sample in enumerate(split.samples):
        (logits,) = session.run(None, {"pixel_values": split.inputs([number])["pixel_values"].numpy()})
        right += int(logits.argmax()) in sample.labels
    return right / len(split)


def time_all(names: list[str], split: Split) -> dict[str, list[float]]:
    """Milliseconds of a call on one image and one thread in every round, the models in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {name: onnxruntime.InferenceSession(f"{name}.onnx", options) for name in names}
    inputs = {"pixel_values": split.inputs([0])["pixel_values"].numpy()}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                session.run(None, inputs)
            times[name].append(1e3 * (time.perf_counter() - started) / CALLS)
    return times


def measure(kind: DataSet, home: Path) -> list[dict[str, Any]]:
    """Make every model that is not there, and return a row for each."""
    if not (home / "data").exists():
        kind.write(home / "data")
    if not (home / "model").exists():
        train_full(kind, home)
    with chdir(home):
        model = load_checkpoint("model").model
        dims = model.dims
        transforms = VIT.transforms(dims, None)
        dataset = read_data(Path("data"), IMAGE_CLASSIFICATION.name)
        splits = make_splits(dataset, Path("data"), IMAGE_CLASSIFICATION, transforms, dims.classes)
        if not Path("full.onnx").exists():
            export_full(splits.evaluation)
        rows = {"full": {"macs": count_macs(dims, LAYERS, LAYERS), "gone": ""}}
        for skip in SKIPS:
            for way in WAYS:
                make = partial(compress_with_das, skip, way)
                rows[f"{way}-{skip}"] = kept(f"{way}-{skip}", make)
            most = rows[f"merged-{skip}"]["macs"]
            rows[f"onnxsim-{skip}"] = kept(f"onnxsim-{skip}", partial(prune_with_onnxsim, dims, splits.train, most))
        times = time_all([*rows], splits.evaluation)
        return [
            {
                **row, "name": name, "accuracy": score(name, splits.evaluation), "times": times[name],
                "bytes": Path(f"{name}.onnx").stat().st_size, "samples": len(splits.evaluation),
            }
            for name, row in rows.items()
        ]  # fmt: skip


def kept(name: str, make: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of a model; it is made where it has not been."""
    path = Path(f"{name}.json")
    if not path.exists():
        made = make(name)
        path.write_text(json.dumps(made))
    return dict(json.loads(path.read_text()))


def tabulate(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """One line of the table for each model."""
    for row in rows:
        low, middle, high = statistics.quantiles(row["times"], n=4)
        yield [
            row["name"], row["gone"], f"{row['macs'] / 1e6:.2f} M", f"{100 * row['accuracy']:.1f} %",
            f"{middle:.3f} ({low:.3f} to {high:.3f})", f"{row['bytes'] / 1e3:.0f} kB",
        ]  # fmt: skip


def report(measured: Mapping[DataSet, list[dict[str, Any]]]) -> str:
    """The tables."""
    header = ["Model", "Without", "MACs", "Accuracy", "ms, quartiles", "ONNX"]
    tables = [
        f"{kind.title}, {rows[0]['samples']:,} test images:\n\n{format_markdown_table(header, [*tabulate(rows)])}"
        for kind, rows in measured.items()
    ]
    return f"""\
A ViT of {LAYERS} layers of width 64, trained from scratch on real images. Nothing is trained after the cut: das fits
adapters, or maps that are merged, by least squares; onnxsim's `apply_transformer_block_pruning` leaves out attentions
and feed-forward parts by the cosine of what goes in and comes out of {CALIBRATION} training images, as many as it takes
to have at most the MACs of das's merged model, and weights that nothing reads any more are taken out of its file.
Accuracy and time are those of the fp32 graph in ONNX Runtime, one image and one thread, the models in turns; quartiles
are of {ROUNDS} rounds of {CALLS} calls.

{chr(10).join(f"{table}{chr(10)}" for table in tables)}"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("easyvqa", type=Path, help="folder of easy-VQA's data")
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoints and runs")
    options = parser.parse_args()
    sets = {
        "digits": DataSet("scikit-learn's digits", 32, 8, 900, write_digits),
        "easyvqa": DataSet("easy-VQA's pictures", 64, 8, 900, partial(write_easyvqa, options.easyvqa.resolve())),
    }
    work = options.work.resolve()
    measured = {kind: measure(kind, work / name) for name, kind in sets.items()}
    write_section("vit-blocks", "Layers of a ViT against halves of layers, on real images", report(measured))
