"""What the machine did meanwhile, and the energy it took."""

import os
from types import SimpleNamespace

import pytest

from profiles.machine.conditions import Conditions, watch
from profiles.machine.energy import Meter, find_meter


def conditions(**changed):
    quiet = {"seconds": 1, "others": 0.0, "stolen": 0.0, "gpu": None}
    return Conditions(**{**quiet, **changed})


def test_a_quiet_machine_needs_no_remark():
    assert conditions(others=0.04).remark == ""


def test_other_load_and_stolen_time_are_said():
    found = conditions(others=0.12, stolen=0.3).remark
    assert found == "other processes used 12% of the CPU time and the host took 30% of the CPU time"


def cpu(**seconds):
    return SimpleNamespace(**{"user": 0, "nice": 0, "system": 0, "idle": 0, "iowait": 0, "steal": 0, **seconds})


def test_shares_are_of_the_time_of_all_cores(monkeypatch):
    """Of 100 seconds 40 were idle, 10 stolen, 30 the measured process's own: 20 are left for others."""
    times = iter((cpu(), cpu(user=45, system=5, idle=30, iowait=10, steal=10)))
    own = iter((SimpleNamespace(user=1, system=1), SimpleNamespace(user=30, system=2)))
    monkeypatch.setattr("profiles.machine.conditions.psutil.cpu_times", lambda: next(times))
    monkeypatch.setattr("profiles.machine.conditions.psutil.Process.cpu_times", lambda self: next(own))
    with watch([]) as seen:
        pass
    assert (seen[0].others, seen[0].stolen) == (pytest.approx(0.2), pytest.approx(0.1))


def test_what_runs_here_is_not_others():
    with watch([os.getpid()]) as seen:
        sum(range(100_000))
    assert 0 <= seen[0].others <= 1
    assert seen[0].seconds > 0


@pytest.fixture
def powercap(tmp_path):
    """Two CPU packages, and a part of one, which is counted in it already."""
    for name, joules in (("intel-rapl:0", 5), ("intel-rapl:1", 90), ("intel-rapl:0:0", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{joules}000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("99999999\n")
    return tmp_path


def test_energy_of_all_packages_also_when_a_counter_begins_again(powercap):
    meter = find_meter("cpu", powercap)
    assert isinstance(meter, Meter)
    assert (meter.name, meter.read()) == ("RAPL, 2 CPU packages", 0)
    (powercap / "intel-rapl:0" / "energy_uj").write_text("7000000")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("1000000")
    assert meter.read() == 2 + 11
    assert meter.read() == 13


def test_a_machine_without_counters_says_so(tmp_path):
    assert "no RAPL counters" in find_meter("cpu", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_counters_that_only_root_may_read(powercap):
    (powercap / "intel-rapl:0" / "energy_uj").chmod(0)
    assert "chmod a+r" in find_meter("cpu", powercap)
