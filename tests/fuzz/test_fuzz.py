"""A few damaged files of every kind; ``make fuzz`` reads ten thousand."""

import json
import random

import pytest

from tests.fuzz.attempts import attempt_all
from tests.fuzz.damage import damage_bytes, damage_document, damage_header
from tests.fuzz.kinds import KINDS
from tests.support.marks import slow_but

QUICK = ("config.json", "safetensors", "tokenizer.json", "arrow table", "JSON lines")


@pytest.mark.parametrize("name", slow_but(QUICK, [kind.name for kind in KINDS]))
def test_damaged_files_are_read_or_refused(tmp_path, name):
    (kind,) = (kind for kind in KINDS if kind.name == name)
    attempts = list(attempt_all(kind, range(12), seed=1, folder=tmp_path))
    assert [attempt.number for attempt in attempts] == list(range(12))
    assert not [attempt for attempt in attempts if attempt.fault]


@pytest.mark.parametrize("damage", [damage_bytes, damage_header])
def test_damage_follows_from_its_number_and_changes_the_file(damage):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    sound = len(header).to_bytes(8, "little") + header + bytes(4)
    made = [damage(sound, random.Random(number)) for number in range(50)]
    assert made == [damage(sound, random.Random(number)) for number in range(50)]
    assert sum(content != sound for content in made) > 45


def test_a_damaged_document_leaves_the_sound_one_as_it_is():
    sound = {"a": [1, {"b": 2}], "c": "d"}
    damaged = [damage_document(sound, random.Random(number)) for number in range(50)]
    assert sound == {"a": [1, {"b": 2}], "c": "d"}
    assert sum(document != sound for document in damaged) > 45


class Broken:
    """A kind that nothing reads as it should."""

    name = "broken"

    def make(self, folder):
        (folder / "file").write_text("sound")
        return folder / "file"

    def damage(self, content, draw):
        return draw.choice((b"raises", b"exits"))

    def read(self, folder):
        content = (folder / "file").read_text()
        if content == "raises":
            raise ValueError("a bug")
        if content == "exits":
            raise SystemExit(1)


def test_what_is_neither_read_nor_refused_is_a_fault(tmp_path):
    faults = {attempt.fault.split(" (")[0] for attempt in attempt_all(Broken(), range(8), seed=0, folder=tmp_path)}
    assert faults == {"ValueError: a bug", "SystemExit: 1"}
