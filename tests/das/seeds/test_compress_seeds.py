"""das compress with several seeds: a run for each, resumed, interrupted, failed."""

import json
import shutil
from pathlib import Path

import pytest

import das as api
from compressor.errors import CheckFailed, Interrupted, Problem, UsageError
from compressor.progress import Progress
from compressor.saved_run.manifest import MANIFEST
from compressor.saved_run.run_folder import open_run
from compressor.saved_run.run_places import find_runs
from das.seeds import compress_seeds
from tests.support.command_line import das, refused, stopped

QUICK = ("compress", "roberta", "--skip", 2, "--strategy", "random", "--recover", "closed-form")
OPTIONS = {"checkpoint": "roberta", "skip": 2, "strategy": "random", "recover": "closed-form"}
FOLDER = Path("runs/roberta-text-classification-skip2-seeds")


def made(folder=FOLDER):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_for_each_seed_and_others_later(sentences):
    said = das(*QUICK, "--seeds", "0,1", "--json")
    document = json.loads(said.stdout)
    scored = [said.stderr.count(f"Evaluating the {model} model on") for model in ("full", "slim")]
    assert 2 * scored[0] == scored[1]  # the full one once, the slim one of each seed
    assert made() == ["seed-0", "seed-1", "seeds.json", "seeds.md"]
    assert json.loads((FOLDER / "seeds.json").read_text()) == document
    runs = [open_run(FOLDER / f"seed-{seed}") for seed in (0, 1)]
    assert [run.manifest.settings.seed for run in runs] == [0, 1]
    assert [run["skipped"] for run in document["runs"]] == [list(run.manifest.plan.layers) for run in runs]
    assert document["slim"]["values"] == [run.manifest.results.slim.value for run in runs]
    assert {FOLDER / "seed-0", FOLDER / "seed-1"} < set(find_runs())

    alone = api.compress(**OPTIONS, seed=1, out="runs/alone")
    assert alone.manifest.plan == runs[1].manifest.plan
    assert alone.manifest.results.slim == runs[1].manifest.results.slim
    assert alone.manifest.results.full == runs[1].manifest.results.full
    assert all((alone.every_answer().full == run.every_answer().full).all() for run in runs)

    plan = json.loads(das(*QUICK, "--seeds", "0,1,2", "--resume", "--dry-run", "--json").stdout)
    assert (plan["seeds"], plan["out"]) == ([2], str(FOLDER))
    before = (FOLDER / "seed-0" / "report.html").stat().st_mtime_ns
    text = das(*QUICK, "--seeds", "0,1,2", "--resume")
    assert text.exit_code == 0, text.stderr
    assert all(len(line) <= 80 for line in text.stdout.splitlines()[:-1])  # the last one names a folder
    assert made() == ["seed-0", "seed-1", "seed-2", "seeds.json", "seeds.md"]
    assert (FOLDER / "seed-0" / "report.html").stat().st_mtime_ns == before
    stopped(das(*QUICK, "--batch-size", 8, "--seeds", "0,3", "--resume"), 3, "settings-changed", "batch_size")

    newer = FOLDER.with_name(f"{FOLDER.name}-2")  # of the same name, but of another recipe
    shutil.copytree(FOLDER / "seed-0", newer / "seed-0")
    manifest = json.loads((newer / "seed-0" / MANIFEST).read_text())
    manifest["settings"]["batch_size"] = 8
    (newer / "seed-0" / MANIFEST).write_text(json.dumps(manifest))
    for size, folder, left in ((64, FOLDER, [3]), (8, newer, [2, 3])):
        asked = das(*QUICK, "--batch-size", size, "--seeds", "2,3", "--resume", "--dry-run", "--json")
        plan = json.loads(asked.stdout)
        assert (plan["seeds"], plan["out"]) == (left, str(folder))
    stopped(das(*QUICK, "--out", FOLDER, "--seeds", "7"), 3, "folder-exists", "--resume")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (("--seeds", "0,0"), "seeds-unreadable"),
        (("--seeds", "0,one"), "seeds-unreadable"),
        (("--seeds", ""), "seeds-unreadable"),
        (("--seeds=-1"), "seeds-unreadable"),
        (("--seeds", "0,99999999999999999999"), "seeds-unreadable"),
        (("--seeds", "0,1", "--seed", "0"), "seed-beside-seeds"),
        (("--seeds", "0,1", "--details"), "details-of-seeds"),
    ],
)
def test_seeds_that_cannot_be(given, code):
    stopped(das("compress", "roberta", *([given] if isinstance(given, str) else given)), 2, code)


@pytest.mark.parametrize(
    ("seeds", "options", "code"),
    [((), {}, "seeds-unreadable"), ((-1, 0), {}, "seeds-unreadable"), ((0, 1), {"seed": 2}, "seed-beside-seeds")],
)
def test_seeds_that_cannot_be_in_python(seeds, options, code):
    with refused(UsageError, code):
        api.compress_seeds(seeds, "roberta", **options)


def test_nothing_to_resume(sentences):
    stopped(das(*QUICK, "--seeds", "0,1", "--resume"), 3, "nothing-to-resume", FOLDER)
    plan = das(*QUICK, "--seeds", "4,5", "--dry-run").stdout
    assert "seeds 4, 5: so much for each" in plan
    assert f"would write {FOLDER}; nothing" in plan


def test_where_every_seed_fails_nothing_is_left(sentences):
    result = das("compress", "roberta", "--layers", "En1", "--learning-rate", 1e30, "--seeds", "0,1")
    stopped(result, 4, ["training-diverged"] * 2, "seed 0: the loss is nan", "seed 1: the loss is nan")
    assert not list(Path("runs").glob("*"))


def test_a_seed_that_fails_leaves_the_others(sentences, monkeypatch):
    real = compress_seeds.compress_and_report

    def fails_at_one(settings, **options):
        if settings.seed == 1:
            raise CheckFailed(Problem("training-diverged", "the loss is nan", "a number", "a lower rate"))
        return real(settings, **options)

    monkeypatch.setattr(compress_seeds, "compress_and_report", fails_at_one)
    result = das(*QUICK, "--seeds", "1,2")
    stopped(result, 4, "training-diverged", "seed 1: the loss is nan")
    assert "seed 1 is missing: the loss is nan" in result.stdout
    found = json.loads((FOLDER / "seeds.json").read_text())
    assert [run["seed"] for run in found["runs"]] == [2]
    assert found["missing"] == [{"seed": 1, "why": "the loss is nan"}]
    result = das(*QUICK, "--seeds", "3", "--resume")  # others in its place do not hide it
    assert (result.exit_code, "seed 1 is missing: the loss is nan" in result.stdout) == (0, True)


class StopsAt(Progress):
    """Ctrl-C where a seed begins."""

    def __init__(self, seed):
        self.seed = seed

    def say(self, message):
        if message.startswith(f"seed {self.seed}:"):
            raise KeyboardInterrupt


def test_an_interrupt_leaves_what_is_finished(sentences):
    with pytest.raises(Interrupted, match="seed 1; go on with the same command and --resume"):
        api.compress_seeds([0, 1], **OPTIONS, progress=StopsAt(1))
    assert made() == ["seed-0", "seeds.json", "seeds.md"]
    (missing,) = json.loads((FOLDER / "seeds.json").read_text())["missing"]
    assert missing["seed"] == 1
    assert not api.compress_seeds([0, 1], **OPTIONS, resume=True).missing


def test_an_interrupt_before_the_first_seed_leaves_nothing(sentences):
    with pytest.raises(KeyboardInterrupt):
        api.compress_seeds([0, 1], **OPTIONS, progress=StopsAt(0))
    assert not list(Path("runs").glob("*"))
