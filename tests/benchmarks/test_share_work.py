"""Jobs shared among processes: order, what is kept, and what fails."""

from functools import partial

from benchmarks.share_work import share_work
from compressor.values import Value

JOBS = {"slim": ("full",), "full": (), "broken": (), "behind": ("broken",)}


class Row(Value):
    name: str
    found: tuple[str, ...]


def do(name, folder):
    """Say which results are there when the job begins."""
    if name == "broken":
        raise ValueError("as it must")
    return Row(name=name, found=tuple(sorted(path.stem for path in folder.glob("full.json"))))


def test_jobs_wait_for_those_they_need_and_are_done_once(tmp_path, capfd):
    def share():
        return share_work(JOBS, partial(do, folder=tmp_path), tmp_path, 2, int)

    assert share() == ["broken", "behind"]
    rows = {path.stem: Row.model_validate_json(path.read_bytes()) for path in tmp_path.glob("*.json")}
    assert rows == {"full": Row(name="full", found=()), "slim": Row(name="slim", found=("full",))}
    assert "ValueError: as it must" in capfd.readouterr().err
    (tmp_path / "full.json").write_text("kept")
    assert share() == ["broken", "behind"] and (tmp_path / "full.json").read_text() == "kept"
