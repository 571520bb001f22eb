"""Which options go together: skipping nothing, lots, and widths of adapters."""

import pytest

from compressor.errors import UsageError
from compressor.search.option_rules import check_options
from compressor.settings import Choice, Settings
from tests.support.command_line import refused

ADAPT = {"adapt": True, "task": "vqa"}


def settings(**options):
    return Settings(checkpoint="meter.ckpt", **options)


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        ({**ADAPT, "skip": 0}, Choice.NOTHING),
        ({**ADAPT, "skip": 0, "parallel_width": 80}, Choice.NOTHING),
        ({**ADAPT, "skip": 4, "strategy": "random"}, Choice.LOT),
        ({**ADAPT, "skip": 4, "strategy": "random", "balanced": True, "skip_width": 256}, Choice.LOT),
        ({**ADAPT, "skip": 4, "strategy": "das"}, Choice.SEARCH),
        ({"skip": 4, "strategy": "random", "balanced": True}, Choice.SEARCH),
        ({**ADAPT, "layers": ("FL1",), "skip_width": 7}, Choice.NAMED),
        ({**ADAPT, "skip": 4, "from_run": "runs/latest"}, Choice.EARLIER),
    ],
)
def test_options_that_go_together(options, choice):
    asked = settings(**options)
    check_options(asked)
    assert asked.choice is choice


@pytest.mark.parametrize(
    ("options", "codes", "said"),
    [
        ({"skip": 0}, "skip-too-small", ("--skip 0 without --adapt", "das compress --skip 0 --adapt")),
        ({**ADAPT, "skip": -1}, "skip-too-small", ("--skip -1",)),
        ({**ADAPT, "skip": 0, "scope": "global"}, "search-beside-layers", ("--scope beside --skip 0", "drop --scope")),
        ({**ADAPT, "skip": 0, "strategy": "das"}, "search-beside-layers", ("--strategy beside --skip 0",)),
        (
            {**ADAPT, "skip": 0, "strategy": "random", "balanced": True},
            "search-beside-layers",
            ("--strategy and --balanced",),
        ),
        ({"layers": ("FL1",), "scope": "all"}, "search-beside-layers", ("--scope beside --layers",)),
        ({**ADAPT, "skip": 0, "layers": ("FL1",)}, "goals-together", ("--skip and --layers",)),
        (
            {**ADAPT, "skip": 0, "max_macs": "0.8x"},
            ("goals-together", "budget-without-sizes"),
            ("--skip and --max-macs",),
        ),
        ({**ADAPT, "skip": 0, "recover": "none"}, "adapt-without-training", ("--recover none",)),
        ({**ADAPT, "skip": 2, "strategy": "random", "recover": "none"}, "adapt-without-training", ("--recover none",)),
        ({**ADAPT, "skip": 0, "skip_width": 9}, "width-without-adapters", ("--skip-width",)),
        (
            {"skip": 2, "replace": "none", "recover": "full", "skip_width": 9},
            "width-without-adapters",
            ("--skip-width",),
        ),
        ({"skip": 2, "parallel_width": 9}, "width-without-adapters", ("--parallel-width", "--adapt")),
        (
            {**ADAPT, "skip": 2, "parallel_width": 0, "skip_width": -3},
            ("width-too-small",) * 2,
            ("width 0", "width -3"),
        ),
        ({**ADAPT, "skip": 2, "strategy": "greedy"}, "strategy-with-adapt", ("says nothing about layers", "random")),
        ({"skip": 2, "reference": "runs/zero"}, "reference-without-adapt", ("--reference without --adapt",)),
        ({**ADAPT, "skip": 0, "reference": "runs/zero"}, "reference-without-adapt", ("--reference with --skip 0",)),
        ({"skip": 2, "balanced": True}, "balanced-without-lot", ("--balanced", "--strategy random")),
        ({"skip": 2, "strategy": "das", "balanced": True}, "balanced-without-lot", ("--balanced",)),
        ({"max_macs": "0.8x", "strategy": "random", "balanced": True}, "balanced-without-lot", ("--skip",)),
        ({**ADAPT, "max_macs": "0.8x", "strategy": "random"}, "budget-without-sizes", ("nothing is scored",)),
    ],
)
def test_options_that_do_not(options, codes, said):
    with refused(UsageError, codes, *said):
        check_options(settings(**options))
