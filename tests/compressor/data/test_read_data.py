"""Finding the folder of the data, and its layout."""

import pytest

from compressor.data.arrow_files import write_table
from compressor.data.read_data import find_data, read_data
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import put, table, write_nlvr2_json


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_without_data_lists_what_is_looked_for_and_what_is_there(tmp_path, task):
    put(tmp_path / "notes.txt", "hello")
    looked_for = [text for layout in TASKS[task].layouts for text in (layout.name, layout.looks_for)]
    with refused(InputError, "data-not-of-task", "notes.txt", *looked_for):
        read_data(tmp_path, task)


def test_data_of_another_task_is_named(tmp_path):
    write_nlvr2_json(tmp_path)
    with refused(InputError, "data-not-of-task", "data for nlvr2", "--task nlvr2"):
        read_data(tmp_path, "vqa")


@pytest.mark.parametrize(
    ("name", "content", "fix"),
    [
        ("reviews.csv", "text,label\nfine,1\n", "name reviews.csv after its split, as test.csv"),
        ("test.csv", "review,verdict\nfine,1\n", "rename the columns"),
        ("config.json", "{}", "give the folder"),
    ],
)
def test_the_fix_is_what_makes_data_of_the_files(tmp_path, name, content, fix):
    put(tmp_path / name, content)
    with pytest.raises(InputError) as error:
        read_data(tmp_path, "text-classification")
    assert error.value.codes == ("data-not-of-task",)
    assert error.value.problems[0].fix.startswith(fix)


def test_progress_sees_every_row(tmp_path):
    seen = []

    class Watch:
        def track(self, items, label, total=None):
            for item in items:
                seen.append((label, total))
                yield item

    write_table(tmp_path / "vqav2_train.arrow", table(3))
    read_data(tmp_path, "vqa", Watch())
    assert seen == [("reading vqav2_train.arrow", 3)] * 3


def test_the_places_looked_at_for_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAS_DATA", raising=False)
    with refused(InputError, "data-folder-missing", "$DAS_DATA: not set; ./data: data; the checkpoint: gone"):
        find_data(None, "gone")
    (tmp_path / "data").mkdir()
    assert find_data(None, "gone").resolve() == (tmp_path / "data").resolve()


def test_a_file_is_no_folder_of_data(tmp_path):
    (tmp_path / "val.csv").write_text("text,label\nhello,1\n")
    with refused(InputError, "data-not-a-folder", tmp_path / "val.csv", f"--data {tmp_path}"):
        find_data(tmp_path / "val.csv", None)
