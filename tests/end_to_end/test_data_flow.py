"""Each command reads what it needs once: the checkpoint, its hash, the images."""

import pytest

import das
from compressor.saved_run.run_folder import open_run
from profiles.analysis.answer_flips import EXAMPLES
from profiles.reports.save import save_report
from profiles.timing import paired
from tests.support.workers import in_threads


@pytest.mark.slow
def test_every_command_reads_once(workshop, reads, monkeypatch):
    in_threads(monkeypatch)
    run = das.compress(
        "meter.ckpt", "vqa", layers="FL1-5,FV1-5", recover="none", data="data", tokenizer="tokenizer.json"
    )
    assert (reads["hash"], reads["load"]) == (1, 1)

    reads.update(image=0)
    again = open_run(run.path)
    save_report(again)
    assert reads["image"] == 0

    reads.update(hash=0, load=0)
    das.export(again, "onnx")
    numbers = again.answers()["numbers"]
    assert (reads["hash"], reads["load"]) == (0, 0)
    assert reads["image"] <= len(numbers)

    reads.update(hash=0, load=0, image=0)
    das.profile(again, seconds=0.05, runtimes=["torch", "onnxruntime"], layers=True, device="cpu")
    # The full model in PyTorch, whose processes are threads here; the graph is a file.
    loaded_by_workers = paired.LEAST_GROUPS
    assert (reads["hash"], reads["load"]) == (1, 1 + loaded_by_workers)
    assert reads["image"] <= len(numbers)  # the full model's graph is certified


def test_the_first_report_decodes_what_it_shows(run_here, reads):
    (run_here / "flips.json").unlink(missing_ok=True)
    run = open_run(run_here)
    report = save_report(run)
    assert 0 < len(report.flips.examples) <= reads["image"] <= EXAMPLES
    assert (reads["hash"], reads["load"]) == (0, 0)
