"""Each command reads what it needs once: the checkpoint, its hash, the images."""

import PIL.Image
import pytest

import das
from compressor.checkpoints import build, read
from compressor.run_folder import open_run
from profiles.analysis.answer_flips import EXAMPLES
from profiles.reports.save import save_report
from tests.support.workers import in_threads


@pytest.fixture
def count(monkeypatch):
    """Return how often a function was called from now on, wherever it was imported."""
    import compressor.job
    import compressor.run_folder

    calls = {"hash": 0, "load": 0, "image": 0}

    def counted(name, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    for module in (compressor.job, compressor.run_folder):
        monkeypatch.setattr(module, "checkpoint_sha256", counted("hash", read.checkpoint_sha256))
        monkeypatch.setattr(module, "load_checkpoint", counted("load", build.load_checkpoint))
    monkeypatch.setattr(PIL.Image, "open", counted("image", PIL.Image.open))
    return calls


def test_every_command_reads_once(workshop, count, monkeypatch):
    in_threads(monkeypatch)
    run = das.compress("meter.ckpt", "vqa", layers="FL3,FV4", recover="none", data="data", tokenizer="tokenizer.json")
    assert (count["hash"], count["load"]) == (1, 1)

    count.update(image=0)
    again = open_run(run.path)
    save_report(again)
    assert count["image"] == 0

    count.update(hash=0, load=0)
    das.export(again, "onnx")
    numbers = again.answers()["numbers"]
    assert (count["hash"], count["load"]) == (0, 0)
    assert count["image"] <= len(numbers)

    count.update(hash=0, load=0, image=0)
    das.profile(again, seconds=0.05, runtimes=["torch", "onnxruntime"], layers=True, device="cpu")
    loaded_by_workers = 1  # the full model in PyTorch, whose process is a thread here; the graph is a file
    assert (count["hash"], count["load"], count["image"]) == (1, 1 + loaded_by_workers, 0)


def test_the_first_report_decodes_what_it_shows(run_here, count):
    (run_here / "flips.json").unlink(missing_ok=True)
    run = open_run(run_here)
    report = save_report(run)
    assert 0 < len(report.flips.examples) <= count["image"] <= EXAMPLES
    assert (count["hash"], count["load"]) == (0, 0)
