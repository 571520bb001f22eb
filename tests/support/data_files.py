"""Data as people have it on disk, made on the spot."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from compressor.data.arrow_files import write_table
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.data.text import TextTransform
from compressor.data.types import Transforms
from compressor.families.image_transforms import ClipTransform
from compressor.tasks import TASKS


def png(shade=0, encoding="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, encoding)
    return buffer.getvalue()


def put(path, content):
    """Write bytes, text, a JSON document, or JSON lines (from a list), by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, list):
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def tell(rows):
    """Text, second text and labels of every sample."""
    return [(sample.text, sample.second, sample.labels) for sample in rows.samples]


def first_images(rows):
    return [sample.images[0].read() for sample in rows.samples]


def table(images, first_label=0):
    """Records as METER's converter writes them: two questions an image, one of them with two answers."""
    return {
        "image": [png(number) for number in range(images)],
        "questions": [["what color is the circle?", "how many things are there?"]] * images,
        "answers": [[["red", "blue"], ["two"]]] * images,
        "answer_labels": [[[first_label, 1], [2]]] * images,
        "answer_scores": [[[1.0, 0.3], [0.6]]] * images,
        "image_id": list(range(images)),
        "question_id": [[2 * i, 2 * i + 1] for i in range(images)],
        "split": ["train"] * images,
    }


def statement(identifier, label="True", **more):
    """A line of NLVR2's JSON."""
    sides = {f"{side}_url": f"http://example.org/{identifier}.jpg" for side in ("left", "right")}
    notes = {"validation": {"8": label}, "extra_validations": {"20": label}, "writer": "130", "synset": "dog"}
    return (
        {"sentence": "both are red", "identifier": identifier, "label": label, "query": "dogs0"} | notes | sides | more
    )


def write_nlvr2_json(root, folder="."):
    lines = [statement("train-5-0-1", directory=3), statement("train-5-0-2", "False", directory=3)]
    put(root / folder / "train.json", lines)
    put(root / folder / "dev.json", [statement("dev-1-0-0")])
    for side in (0, 1):
        put(root / "images" / "train" / "3" / f"train-5-0-img{side}.png", png(side))
        put(root / "dev" / f"dev-1-0-img{side}.png", png(side))


def write_columns(root, name, rows):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        put(path, rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def write_beir(root, corpus, queries, **splits):
    """Write documents (title and text by id), queries by id, and the rows of each split's judgements."""
    put(root / "corpus.jsonl", [{"_id": id, "title": title, "text": text} for id, (title, text) in corpus.items()])
    put(root / "queries.jsonl", [{"_id": id, "text": text} for id, text in queries.items()])
    for split, rows in splits.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        put(root / "qrels" / f"{split}.tsv", "\n".join(lines) + "\n")


def save_like_datasets(root, splits, names):
    """What ``DatasetDict.save_to_disk`` leaves: arrow streams with their features in the metadata."""
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split, rows in splits.items():
        data = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
        path = root / split / "data-00000-of-00001.arrow"
        path.parent.mkdir(parents=True)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
            writer.write_table(data)
    put(root / "dataset_dict.json", {"splits": list(splits)})


def write_tables(folder, **images):
    """Write METER's VQA tables, each with so many images."""
    for name, count in images.items():
        write_table(folder / f"vqav2_{name}.arrow", table(count))
    return folder


def transforms(size=12, length=12):
    tokenizer = word_tokenizer(["what color is the circle?", "how many things are there?"], "<s>")
    return Transforms(TextTransform(tokenizer, length, 100), ClipTransform(size))


def splits_of(folder, classes=3):
    """The splits of VQA tables in their roles."""
    return make_splits(read_data(folder, "vqa"), folder, TASKS["vqa"], transforms(), classes)
