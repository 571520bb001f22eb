"""Killed at any moment and resumed, a run ends with the plan and the bits of one that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from compressor.compression import compress
from compressor.errors import InputError, Interrupted, Terminated
from compressor.saved_run import resume
from compressor.settings import Settings
from compressor.training import loss_in_parts
from das.main import _terminate
from tests.support.command_line import refused
from tests.support.progress import StepProgress
from tests.support.search_logs import without_seconds

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def settings(strategy, out, **changes):
    quick = {"search_epochs": 0.5, "recover_epochs": 0.2, "batch_size": 48, "skip": 2, "scope": "FL0-2,FV0-2"}
    quick["device"] = "cpu"  # a forked process cannot use a GPU that its parent has used
    return Settings(checkpoint="meter.ckpt", task="vqa", strategy=strategy, out=f"runs/{out}", **quick | changes)


class SignalAt(StepProgress):
    """Sends this process a signal at a step of a stage, or at a step counted over all stages."""

    def __init__(self, number, at, label=""):
        self.number, self.at, self.label, self.seen = number, at, label, 0

    def tick(self, label):
        if self.label in label:
            self.seen += 1
            if self.seen == self.at:
                signal.raise_signal(self.number)

    def step(self, label, number):
        self.tick(label)

    @contextmanager
    def stage(self, label):
        self.tick(label)
        yield


def in_a_process(work):
    """Do ``work`` in a process of its own, as the command line does; returns its exit status, negative for signals."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)
        status = 1
        try:
            work()
            status = 0
        except (Interrupted, Terminated) as stopped:
            status = 128 + stopped.number
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def started(folder):
    """Whether there is something to resume."""
    return (folder / "runs" / "broken.partial").exists()


def assert_same(run, whole):
    assert run.manifest.plan == whole.manifest.plan
    a, b = run.load_slim().state_dict(), whole.load_slim().state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert run.manifest.results.slim == whole.manifest.results.slim
    assert without_seconds(run.search_log()) == without_seconds(whole.search_log())
    assert run.search_result().points == whole.search_result().points


class Doubling:
    """Work of ten steps, each of which depends on all before it."""

    def __init__(self):
        self.values = [1.0]

    def run(self, after_step):
        while len(self.values) <= 10:
            self.values.append(sum(self.values))
            after_step(len(self.values) - 1, self)

    def state_dict(self):
        return {"values": torch.tensor(self.values)}

    def load_state_dict(self, state):
        self.values = state["values"].tolist()


@pytest.mark.parametrize("number", SIGNALS[1:])
@pytest.mark.parametrize("at", range(1, 11))
def test_work_stopped_after_any_step_goes_on_from_there(tmp_path, at, number):
    def checkpoint():
        return resume.RunCheckpoint(tmp_path / "run", {"seed": 0})

    stopped, worker = checkpoint(), Doubling()
    stopped.reserve()
    stopped.finish(resume.Stage.EVALUATE, {"score": 0.5})

    def signal_at(step, work):
        if step == at:
            signal.raise_signal(number)
        stopped.after_step(step, work)

    handlers = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted, match="--resume") as interrupt, stopped.running(resume.Stage.SEARCH, worker):
        worker.run(signal_at)
    assert interrupt.value.number == number
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    resumed, other, again = checkpoint(), Doubling(), Doubling()
    resumed.load()
    assert (resumed.state.stage, resumed.state.step) == ("search", at)
    assert resumed.result(resume.Stage.EVALUATE) == {"score": 0.5}
    with resumed.running(resume.Stage.RECOVER, other):  # another stage's state is not for it
        assert other.values == [1.0]
    with resumed.running(resume.Stage.SEARCH, again):
        assert len(again.values) == at + 1
        again.run(resumed.after_step)
    assert again.values == [1.0, *(2.0**step for step in range(10))]
    resumed.finish(resume.Stage.SEARCH, again.values)
    finished = checkpoint()
    finished.load()
    assert (finished.state.stage, finished.state.step, finished.state.progress) == (None, 0, {})
    assert finished.result(resume.Stage.SEARCH) == again.values
    with pytest.raises(InputError, match="seed"):
        resume.RunCheckpoint(tmp_path / "run", {"seed": 1}).load()
    finished.remove()
    assert not list(tmp_path.iterdir())


FITTED = ("Encoding calibration", "Encoding the held-out", "Scoring", "Asking the full", "Recovering")
TRAINED = ("Encoding the training", "Searching", "Encoding calibration", "Recovering")
EVERY = ("Evaluating the slim", "Saving")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "stages", "changes"),
    [
        ("auto", FITTED + EVERY, {}),
        ("das", TRAINED + EVERY, {}),
        ("greedy", ("Scoring",), {"recover": "closed-form"}),
    ],
)
def test_killed_in_every_stage_in_turn(workshop, monkeypatch, strategy, stages, changes):
    whole = compress(settings(strategy, "whole", **changes))
    monkeypatch.setattr(resume, "SAVE_EVERY_SECONDS", 0.0)  # a state after every step: each must be one to go on from
    for turn, stage in enumerate(stages):
        number, resumed = SIGNALS[turn % len(SIGNALS)], started(workshop)
        progress = SignalAt(number, 1 if stage == "Saving" else 2, stage)
        status = in_a_process(
            lambda p=progress, r=resumed: compress(settings(strategy, "broken", **changes), resume=r, progress=p)
        )
        assert status == (-number if number == signal.SIGKILL else 128 + number), stage
        assert not (workshop / "runs" / "broken").exists()
    assert_same(compress(settings(strategy, "broken", **changes), resume=True), whole)
    assert sorted(path.name for path in (workshop / "runs").iterdir()) == ["broken", "latest", "whole"]


@pytest.mark.parametrize(("strategy", "stage"), [
    ("auto", "Scoring"),
    pytest.param("greedy", "Scoring", marks=pytest.mark.slow),
    *(pytest.param(name, "Recovering", marks=pytest.mark.slow) for name in ("exhaustive", "influence", "random")),
])  # fmt: skip
def test_killed_once(workshop, monkeypatch, strategy, stage):
    whole = compress(settings(strategy, "whole"))
    kill = SignalAt(signal.SIGKILL, 2, stage)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "SAVE_EVERY_SECONDS", 0.0)
        assert in_a_process(lambda: compress(settings(strategy, "broken"), progress=kill)) == -signal.SIGKILL
    assert started(workshop)
    assert_same(compress(settings(strategy, "broken"), resume=True), whole)


@pytest.mark.slow
def test_killed_while_all_weights_are_trained(workshop, monkeypatch):
    full = {"replace": "none", "recover": "full"}
    whole, kill = compress(settings("influence", "whole", **full)), SignalAt(signal.SIGKILL, 2, "Recovering")
    with monkeypatch.context() as patch:
        patch.setattr(resume, "SAVE_EVERY_SECONDS", 0.0)
        broken = settings("influence", "broken", **full)
        assert in_a_process(lambda: compress(broken, progress=kill)) == -signal.SIGKILL
    assert started(workshop)
    assert_same(compress(settings("influence", "broken", **full), resume=True), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "stage"), [("das", "Searching"), ("influence", "Recovering")])
def test_killed_between_steps_that_run_in_parts(workshop, monkeypatch, strategy, stage):
    monkeypatch.setattr(loss_in_parts, "KEPT_BYTES", 1 << 20)
    whole, kill = compress(settings(strategy, "whole")), SignalAt(signal.SIGKILL, 2, stage)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "SAVE_EVERY_SECONDS", 0.0)
        assert in_a_process(lambda: compress(settings(strategy, "broken"), progress=kill)) == -signal.SIGKILL
    assert started(workshop)
    assert_same(compress(settings(strategy, "broken"), resume=True), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "seed"), [("auto", 0), ("das", 1)])
def test_killed_at_moments_drawn_by_lot(workshop, monkeypatch, strategy, seed):
    drawn = random.Random(seed)
    counter = SignalAt(0, 0)
    whole = compress(settings(strategy, "whole"), progress=counter)
    monkeypatch.setattr(resume, "SAVE_EVERY_SECONDS", 0.1)
    for _ in range(4):
        progress = SignalAt(drawn.choice(SIGNALS), drawn.randrange(1, counter.seen))
        resumed = started(workshop)
        in_a_process(lambda p=progress, r=resumed: compress(settings(strategy, "broken"), resume=r, progress=p))
        if (workshop / "runs" / "broken").exists():
            break
    assert_same(compress(settings(strategy, "broken"), resume=True), whole)


def test_killed_while_the_state_is_written_the_older_state_is_kept(workshop, monkeypatch):
    whole = compress(settings("das", "whole"))
    monkeypatch.setattr(resume, "SAVE_EVERY_SECONDS", 0.0)
    save, saves = torch.save, []

    def half(state, file):
        saves.append(1)
        if len(saves) < 6:
            return save(state, file)
        file.write(b"PK")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(torch, "save", half)
    assert in_a_process(lambda: compress(settings("das", "broken"))) == -signal.SIGKILL
    monkeypatch.undo()
    monkeypatch.chdir(workshop)
    assert (
        torch.load("runs/broken.partial/state.pt", weights_only=True)["progress"]["optimiser"]["schedule"]["last_epoch"]
        > 0
    )
    assert_same(compress(settings("das", "broken"), resume=True), whole)


def test_killed_after_the_last_step_nothing_is_done_again(workshop, monkeypatch):
    monkeypatch.setattr(resume.RunCheckpoint, "remove", lambda self: os.kill(os.getpid(), signal.SIGKILL))
    assert in_a_process(lambda: compress(settings("auto", "broken"))) == -signal.SIGKILL
    monkeypatch.undo()
    monkeypatch.chdir(workshop)
    made = (workshop / "runs" / "broken" / "model.safetensors").stat().st_mtime_ns
    for _ in range(2):  # interrupted or not: asked to resume a finished run, das hands it over
        run = compress(settings("auto", "broken"), resume=True)
        assert not started(workshop)
    assert (run.path / "model.safetensors").stat().st_mtime_ns == made
    with refused(InputError, "settings-changed", "seed"):
        compress(settings("auto", "broken", seed=1), resume=True)


@pytest.mark.slow
def test_the_state_of_a_search_is_small(workshop, monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY_SECONDS", 0.0)
    stop = SignalAt(signal.SIGTERM, 500, "Scoring")  # the 495 subsets once, and some of them again
    asked = settings("auto", "broken", skip=4, scope="fusion")
    assert in_a_process(lambda: compress(asked, progress=stop)) == 128 + signal.SIGTERM
    assert (workshop / "runs" / "broken.partial" / "state.pt").stat().st_size < 500_000


@pytest.mark.slow
def test_sigterm_ends_the_command_as_ctrl_c_does(workshop):
    das = "from compressor.saved_run import resume; from das import main; resume.SAVE_EVERY_SECONDS = 0; main.run()"
    command = ["compress", "meter.ckpt", "--task", "vqa", "--skip", "3", "--recover-epochs", "500", "--out", "runs/r"]
    running = subprocess.Popen([sys.executable, "-c", das, *command], stderr=subprocess.PIPE, text=True)
    try:
        while not (workshop / "runs" / "r.partial" / "state.pt").exists():
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        assert "the same command and --resume" in running.communicate()[1]
    finally:
        running.kill()
    assert running.returncode == 143
