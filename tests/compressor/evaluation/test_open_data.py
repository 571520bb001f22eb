"""Images are checked once, when a run is made; later openings decode those they use, of the same samples."""

import json
import shutil
from contextlib import chdir

import numpy as np
import PIL.Image
import pytest
from PIL import Image

from compressor.compression import compress
from compressor.data.arrow_files import read_table, write_table
from compressor.data.read_data import read_data
from compressor.data.roles import make_split
from compressor.data.types import Reading, Transforms
from compressor.evaluation.open_data import open_data, open_evaluation
from compressor.evaluation.reference import open_reference
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings
from compressor.tasks import TASKS
from das.demo.demos import SHIPPED

PER_IMAGE = 5  # questions in a row of the tables


@pytest.fixture
def opened(monkeypatch):
    """The images that Pillow opens from now on."""
    images, plain = [], Image.open
    monkeypatch.setattr(PIL.Image, "open", lambda *given, **options: images.append(1) or plain(*given, **options))
    return images


def test_a_reference_decodes_the_images_it_uses(shared_run, opened):
    reference = open_reference(shared_run)
    assert (reference.note, opened) == ("", [])
    split = open_evaluation(shared_run)
    assert len(split) > reference.samples
    reference.inputs(list(range(reference.samples)))
    numbers = shared_run.answers()["numbers"].tolist()
    assert len(opened) == len({split.samples[number].images for number in numbers}) <= reference.samples


def test_the_data_that_is_scored_is_opened_without_decoding_it(shared_run, opened):
    data = open_data(shared_run)
    known = {part["name"]: dict(part) for part in shared_run.manifest.data}
    assert [split.describe() for split in (data.evaluation, *data.extra)] == [known["test"]]
    assert not opened


def test_the_evaluation_split_is_that_of_the_run(shared_run):
    whole, alone = open_data(shared_run).evaluation, open_evaluation(shared_run)
    assert alone.describe() == whole.describe()
    numbers = list(range(len(whole)))
    assert [sample.text for sample in alone.samples] == [sample.text for sample in whole.samples]
    assert (alone.targets(numbers) == whole.targets(numbers)).all()


def write_statements(folder, pairs, broken):
    """NLVR2's JSON; ``broken`` images are cut short."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("train", "dev", "test1"):
        rows = []
        for number in range(pairs):
            rows.append({"identifier": f"{name}-{number}-0-0", "sentence": f"{name} {number}", "label": "True"})
            for side in (0, 1):
                path = folder / "images" / f"{name}-{number}-0-img{side}.png"
                Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
                if (name, number, side) in broken:
                    path.write_bytes(path.read_bytes()[:200])
        (folder / f"{name}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_damaged_rows_are_skipped_where_they_were_found(tmp_path, opened):
    write_statements(tmp_path, 4, {("test1", 1, 0), ("train", 2, 1)})
    checked = read_data(tmp_path, "nlvr2")
    assert len(opened) == 3 * 4 * 2 - 1  # of a pair the second is not looked at once the first is damaged
    opened.clear()
    task, transforms = TASKS["nlvr2"], Transforms(None, None)
    first = make_split("test", checked, task, transforms, 2)
    described = first.describe()
    assert described["unreadable"] == [
        "test1.json, line 2: test1-1-0-img0.png does not decode (image file is truncated)"
    ]
    known = Reading(splits={"test"}, checked={described["fingerprint"]: described["unreadable"]})
    again = make_split("test", read_data(tmp_path, "nlvr2", reading=known), task, transforms, 2)
    assert again.describe() == described
    assert [sample.text for sample in again.samples] == [sample.text for sample in first.samples]
    assert not opened
    # Rows of files that were never checked are.
    read_data(tmp_path, "nlvr2", reading=Reading(splits={"val"}, checked=known.checked))
    assert len(opened) == 4 * 2


def test_a_damaged_image_keeps_its_place_in_a_run(shared_workshop, tmp_path, opened):
    """Of a run whose evaluation split has an unreadable row, the reference has the samples the run was judged on."""

    data = tmp_path / "data"
    shutil.copytree(shared_workshop / "data", data)
    table = read_table(data / "vqav2_test.arrow", ())
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    columns["image"][1] = columns["image"][1][:60]
    write_table(data / "vqav2_test.arrow", columns)

    settings = Settings(
        checkpoint=str(shared_workshop / SHIPPED.checkpoint),
        task="vqa",
        layers=("FL3",),
        recover="none",
        data=str(data),
        out=str(tmp_path / "run"),
        tokenizer=str(shared_workshop / "tokenizer.json"),
    )
    with chdir(tmp_path):
        run = compress(settings)
    opened.clear()
    split, whole = open_evaluation(open_run(run.path)), read_data(data, "vqa").splits["test"]
    assert len(opened) > len(split) / PER_IMAGE  # the whole reading checks every image
    assert split.records.unreadable == whole.unreadable != ()
    assert [sample.text for sample in split.samples] == [sample.text for sample in whole.samples]
    assert open_reference(run).note == ""
