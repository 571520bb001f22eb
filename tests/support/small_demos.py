"""The demos with models of few layers, hardly trained: tracing takes seconds for each layer."""

import json
from contextlib import chdir
from dataclasses import replace

from das.demo.checkpoints import prepare_demo
from das.demo.demos import DEMOS
from tests.support import tiny_models as tiny
from tests.support.command_line import das
from tests.support.once import once

QUICK = ("--batch-size", 8, "--search-epochs", 0.5, "--recover-epochs", 0.2)


def answered(*arguments):
    """The JSON document of a command that must succeed."""
    done = das(*arguments, "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def small_demo(family, task):
    """A folder with ``demo``, which holds checkpoint, data and run, and the run's report; no test changes it."""
    demo = DEMOS[family, task]
    small = replace(demo, images=40, steps=3, shipped=0, dims=lambda sizes: tiny.of_few_layers(demo.dims(sizes)))

    def make(folder):
        prepare_demo(small, folder / "demo")
        with chdir(folder / "demo"):
            report = answered("compress", demo.checkpoint, "--data", "data", "--skip", 1, *QUICK)
        (folder / "report.json").write_text(json.dumps(report))

    return once(f"cell-{family}-{task}", make)
