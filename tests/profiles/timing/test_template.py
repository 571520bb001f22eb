"""Fresh processes as forks of a template, which is here one that imports nothing."""

import os
import signal
import sys
from tempfile import TemporaryFile

import pytest

from profiles.timing.template import CAN_FORK, Template

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="workers are started from Python")

WORKER = """
import os, sys
from profiles.timing.template import serve_as_template

def serve(commands, answers):
    for line in commands:
        print("printed")
        if line == "fail\\n":
            raise ValueError("cannot")
        answers.write(f"{os.getpid()} {line}")
        answers.flush()

serve_as_template(int(sys.argv[1]), serve)
"""


@pytest.fixture
def starts():
    with Template((sys.executable, "-c", WORKER)) as template:
        yield template


def ask(process, line):
    process.stdin.write(f"{line}\n")
    return process.stdout.readline()


def test_every_worker_is_a_process_of_its_own(starts):
    with TemporaryFile("w+") as errors:
        workers = [starts.start(errors) for _ in range(3)]
        assert [ask(worker, "hello") for worker in workers] == [f"{worker.pid} hello\n" for worker in workers]
        assert len({os.getpid(), *(worker.pid for worker in workers)}) == 4
        for worker in workers:
            worker.stdin.close()
            assert worker.wait() == worker.wait() == 0
            worker.stdout.close()
        errors.seek(0)
        assert errors.read() == "printed\n" * 3


def test_how_a_worker_ended_is_known(starts):
    with TemporaryFile("w+") as errors:
        failed, killed = starts.start(errors), starts.start(errors)
        assert ask(failed, "fail") == ""
        assert failed.wait() == 1
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        errors.seek(0)
        assert errors.read().splitlines()[-1] == "ValueError: cannot"
        still = starts.start(errors)
        assert ask(still, "hello") == f"{still.pid} hello\n"
        still.stdin.close()
        for worker in (failed, killed, still):
            worker.stdout.close()


def test_a_template_that_is_gone_is_an_error_of_the_system():
    with Template((sys.executable, "-c", "pass")) as template, TemporaryFile("w+") as errors:
        for _ in range(2):
            with pytest.raises(OSError, match="status 0: no message"):
                template.start(errors)
