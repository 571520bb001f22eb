"""Two processes give what one gives: the same layers, the same scores, weights within 1e-5."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor import distributed as parallel
from compressor.compression import compress
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings

ROOT = Path(__file__).parents[2]
ASKED = {"checkpoint": "meter.ckpt", "task": "vqa", "skip": 2, "search_epochs": 0.5, "recover_epochs": 0.5}
ASKED |= {"batch_size": 47}  # no two halves


def launch(*arguments, fails=False):
    """Run a script or module in two processes that talk over gloo; returns stdout and stderr."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert bool(done.returncode) == fails, done.stderr
    return done.stdout, done.stderr


def assert_alike(run, single):
    assert run.manifest.plan == single.manifest.plan
    assert run.manifest.results.slim.value == single.manifest.results.slim.value
    assert run.search_result().chosen == single.search_result().chosen
    for point, same in zip(run.search_result().points, single.search_result().points, strict=True):
        assert (point.layers, point.value) == (same.layers, same.value)
        assert point.loss == pytest.approx(same.loss, abs=1e-5)
    weights = run.load_slim().state_dict()
    for name, value in single.load_slim().state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_two_processes_end_where_one_does(workshop):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in ASKED.items() if name != "checkpoint"]
    stdout, stderr = launch("-m", "das", "compress", "meter.ckpt", *options, "--out", "runs/two", "--json")
    assert json.loads(stdout)["run"] == "two"  # one document: only the main process prints
    assert "error" not in stderr
    assert sorted(path.name for path in (workshop / "runs").iterdir()) == ["latest", "two"]
    single, two = compress(Settings(**ASKED, out="runs/one")), open_run("runs/two")
    assert_alike(two, single)
    # Each subset is scored by one process alone, so that not even the last bits differ.
    assert two.search_result().points == single.search_result().points


@pytest.mark.slow
def test_two_processes_train_in_the_search_as_one_does_and_stop_together(workshop):
    asked = Settings(**ASKED, strategy="das", out="runs/broken")
    launch("-m", "tests.support.processes", asked.model_dump_json())
    single = compress(asked.model_copy(update={"out": "runs/one"}))
    whole, resumed = open_run("runs/whole"), open_run("runs/broken")
    assert_alike(whole, single)
    weights = resumed.load_slim().state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.load_slim().state_dict().items())


@pytest.mark.slow
def test_what_stops_the_processes_is_said(workshop):
    _, stderr = launch("-m", "das", "compress", "meter.ckpt", "--skip", "2", "--batch-size", "1", fails=True)
    assert "error: too-many-processes" in stderr
    assert "2 processes" in stderr and "1 samples" in stderr
    assert not (workshop / "runs").exists() or not list((workshop / "runs").iterdir())


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("items", [0, 1, 2, 7, 8, 64])
def test_shares_cover_everything(monkeypatch, processes, items):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    shares, even, dealt = [], [], []
    for number in range(processes):
        monkeypatch.setenv("RANK", str(number))
        shares.append(parallel.share(np.arange(items)))
        even.append(parallel.even_share(list(range(items))))
        dealt.append(parallel.deal(list(range(items))))
    assert np.concatenate(shares).tolist() == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert sorted(number for hand in dealt for number in hand) == list(range(items))
    assert [list(row) for row in zip(*dealt, strict=False)] == [
        list(range(start, start + processes)) for start in range(0, items - processes + 1, processes)
    ]  # each turn one to every process
    assert {number for share in even for number in share} == set(range(items))
    assert len({len(share) for share in even}) == 1
