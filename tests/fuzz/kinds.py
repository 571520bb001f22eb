"""The kinds of files: a sound one of each, how it is damaged, and what das does with it."""

import json
from collections.abc import Callable
from contextlib import chdir, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import das
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.sources.locate import CONFIG, SAFE
from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.arrow_files import write_table
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import read_unlabelled
from compressor.data.roles import make_splits, make_whole
from compressor.data.text import TextTransform
from compressor.data.types import IN_ROLES, Reading, Transforms
from compressor.errors import DasError
from compressor.evaluation.answer_files import check_written
from compressor.families.image_transforms import ClipTransform
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from tests.fuzz.attempts import CONTRACT
from tests.fuzz.damage import damage_bytes, damage_header, damage_json, damage_lines
from tests.support import tiny_models
from tests.support.command_line import das as command
from tests.support.data_files import png, table

TEXTS = "what color is the circle?", "how many things are there?", "a small red square", "two blue circles"
CLASSES = 3
ROWS = 120  # one that cannot be used is under one in a hundred


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: of the kind.
        make: makes a sound file in an empty folder, with all that is read beside it; returns its path.
        read: does with the folder what a command does first.
        damage: bytes and a random generator to damaged bytes.
    """

    name: str
    make: Callable
    read: Callable
    damage: Callable = damage_bytes


def make_checkpoint(folder, name=SAFE[0]):
    """Make a Hugging Face folder of a small BERT with its tokenizer; return the file ``name`` in it."""
    model = tiny_models.model("bert", "text-classification", shallow=True)
    names = dict(enumerate(("negative", "neutral", "positive", "red", "blue")))
    config = model.dims.config | {"architectures": ["BertForSequenceClassification"], "id2label": names}
    save_public_checkpoint(model, folder / "bert", config)
    word_tokenizer(TEXTS, "[CLS]").save(str(folder / "bert" / "tokenizer.json"))
    return folder / "bert" / name


def read_checkpoint(folder):
    """Recognise and load the checkpoint, and what its classes are called."""
    source = recognise(folder / "bert")
    load_checkpoint(source)
    assert isinstance(source.labels, tuple)


def make_lightning(folder):
    """Make a small ViLT as its public code saves it."""
    path = folder / "vilt.ckpt"
    save_public_checkpoint(tiny_models.model("vilt", "vqa"), path, {"num_heads": 4, "max_text_len": tiny_models.LENGTH})
    return path


def read_lightning(folder):
    """Load the checkpoint."""
    load_checkpoint(folder / "vilt.ckpt")


def read_texts(folder):
    """Find the tokenizer, and turn texts and pairs of texts into ids."""
    transform = TextTransform(find_tokenizer(None, folder / "bert", None).tokenizer, 12, 100)
    transform(TEXTS)
    transform(list(zip(TEXTS, TEXTS[::-1], strict=True)))


def make_vocabulary(folder):
    """Make a BERT's vocab.txt."""
    path = make_checkpoint(folder, "vocab.txt")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
    path.write_text("\n".join(words) + "\n")
    path.with_name("tokenizer.json").unlink()
    return path


def sentences(split):
    """Return rows of sentences with labels."""
    return [{"sentence": f"{TEXTS[i % len(TEXTS)]} {split} {i}", "label": i % CLASSES} for i in range(ROWS)]


def make_lines(folder, name="{}.jsonl"):
    """Make splits of JSON lines; return the training split."""
    for split in ("train", "val", "test"):
        (folder / name.format(split)).write_text("".join(json.dumps(row) + "\n" for row in sentences(split)))
    return folder / name.format("train")


def make_csv(folder):
    """Make splits of CSV; return the training split."""
    for split in ("train", "val"):
        lines = [f'"{row["sentence"]}",{row["label"]}' for row in sentences(split)]
        (folder / f"{split}.csv").write_text("\n".join(["sentence,label", *lines]) + "\n")
    return folder / "train.csv"


def make_parquet(folder):
    """Make splits of Parquet; return the training split."""
    for split in ("train", "val"):
        pq.write_table(pa.Table.from_pylist(sentences(split)), folder / f"{split}.parquet")
    return folder / "train.parquet"


def make_streams(folder):
    """Make what ``datasets`` saves to disk; return the arrow stream of the training split."""
    features = {"label": {"names": ["no", "maybe", "yes"], "_type": "ClassLabel"}}
    for split in ("train", "validation"):
        rows = pa.Table.from_pylist(sentences(split))
        rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = folder / split / "data-00000-of-00001.arrow"
        path.parent.mkdir()
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
    return folder / "train" / "data-00000-of-00001.arrow"


def make_tables(folder):
    """Make METER's VQA tables; return that of training."""
    for split, images in (("train", ROWS), ("val", 2)):
        write_table(folder / f"vqav2_{split}.arrow", table(images))
    return folder / "vqav2_train.arrow"


def make_questions(folder):
    """Make VQA v2's files; return the annotations of training."""
    answers = [{"answer": "yes" if i % 3 else "no", "answer_confidence": "yes", "answer_id": i} for i in range(10)]
    for split in ("train", "val"):
        ids = range(ROWS if split == "train" else 12)
        asked = [{"question_id": i, "image_id": i % 4, "question": TEXTS[i % len(TEXTS)]} for i in ids]
        noted = [
            {"question_id": i, "image_id": i % 4, "answers": answers, "multiple_choice_answer": "yes"}
            | {"question_type": "is", "answer_type": "yes/no"}
            for i in ids
        ]
        path = folder / f"v2_OpenEnded_mscoco_{split}2014_questions.json"
        path.write_text(json.dumps({"questions": asked}))
        (folder / f"v2_mscoco_{split}2014_annotations.json").write_text(json.dumps({"annotations": noted}))
        (folder / f"{split}2014").mkdir()
        for i in range(4):
            (folder / f"{split}2014" / f"COCO_{split}2014_{i:012d}.jpg").write_bytes(png(i, "JPEG"))
    return folder / "v2_mscoco_train2014_annotations.json"


def write_answers(task, folder, split, transforms):
    """Read every row of a split, and write what a test server would take."""
    read = read_data(folder, task, reading=Reading(splits={split}, whole=True))
    dataset = align_labels(read, (), TASKS[task], own_head=False)
    data = make_whole(split, dataset, folder, TASKS[task], transforms, max(CLASSES, len(dataset.labels)))
    form, ids = check_written(replace(data, written=tuple(map(str, range(len(data.written))))), TASKS[task])
    form.write((data.ids, form.answer), [(id, data.written[0]) for id in ids])


def read_task(task, folder):
    """Read the data of a task, with and without labels, and every sample of it as a model would be given it."""
    text = TextTransform(word_tokenizer(TEXTS), 12, 100)
    transforms = Transforms(text, ClipTransform(12) if TASKS[task].images else None)
    for split in IN_ROLES:
        with suppress(DasError):
            write_answers(task, folder, split, transforms)
    dataset = align_labels(read_data(folder, task), (), TASKS[task], own_head=False)
    data = make_splits(dataset, folder, TASKS[task], transforms, max(CLASSES, len(dataset.labels)))
    for split in data.splits:
        split.batch(range(min(4, len(split))))
    if TASKS[task].unlabelled:
        read_unlabelled(folder, TASKS[task])


def make_run(folder, name="manifest.json"):
    """Make a run of a small BERT; return a file of it."""
    make_checkpoint(folder)
    (folder / "data").mkdir()
    make_lines(folder / "data")
    with chdir(folder):  # runs/latest appears in the current folder
        settings = {"data": folder / "data", "out": folder / "run", "skip": 1, "recover": "none"}
        das.compress(
            folder / "bert",
            **{key: str(value) if isinstance(value, Path) else value for key, value in settings.items()},
        )
    return folder / "run" / name


def read_run(folder):
    """Open the run, its model, what its texts become, and the search; explain it."""
    run = open_run(folder / "run")
    model = run.load_slim()
    model(**run.transforms().text(TEXTS))
    for part in (run.labels, run.search_log, run.search_result, run.samples, run.every_answer):
        part()
    for name in ("explain", "pareto"):
        done = command(name, folder / "run")
        assert done.exit_code in (0, *CONTRACT), done.stderr


KINDS = (
    Kind("manifest", make_run, read_run, damage_json),
    Kind("search result", partial(make_run, name="search.json"), read_run, damage_json),
    Kind("search log", partial(make_run, name="search.jsonl"), read_run, damage_lines),
    Kind("safetensors", make_checkpoint, read_checkpoint, damage_header),
    Kind("config.json", partial(make_checkpoint, name=CONFIG), read_checkpoint, damage_json),
    Kind("Lightning file", make_lightning, read_lightning),
    Kind("tokenizer.json", partial(make_checkpoint, name="tokenizer.json"), read_texts, damage_json),
    Kind("vocab.txt", make_vocabulary, read_texts),
    Kind("arrow table", make_tables, partial(read_task, "vqa")),
    Kind("arrow stream", make_streams, partial(read_task, "text-classification")),
    Kind("Parquet", make_parquet, partial(read_task, "text-classification")),
    Kind("JSON lines", make_lines, partial(read_task, "text-classification"), damage_lines),
    Kind("CSV", make_csv, partial(read_task, "text-classification")),
    Kind("VQA annotations", make_questions, partial(read_task, "vqa"), damage_json),
)
