"""Several runs side by side: figures, marks, what is missing, and what may not be compared."""

import json
import shutil

import numpy as np
import pytest

from compressor.costs.model_costs import Pair, Trims
from compressor.saved_run.run_folder import open_run
from profiles.comparison.full_vs_slim import MemoryPair, ProfileReport, RuntimeProfile
from profiles.comparison.run_vs_run import compare_runs, short_names
from profiles.comparison.run_vs_run_tables import NOT_YET, render_comparison, tabulate_runs, write_footnotes
from profiles.machine.environment import Environment
from profiles.machine.memory import Memory
from profiles.timing.latency import summarise_times
from profiles.timing.speedups import estimate_speedup
from tests.support.command_line import das, stopped


@pytest.fixture
def copies(run_here):
    """The run three times, the second with a layer less skipped."""
    folders = [run_here.with_name(name) for name in ("meter-vqa-skip8", "meter-vqa-skip7", "meter-vqa-again")]
    for folder in folders[1:]:
        shutil.copytree(run_here, folder)
    if folders[0] != run_here:
        shutil.copytree(run_here, folders[0])
    change(folders[1], lambda made: made["plan"]["skip"].pop())
    change(folders[1], lambda made: made["results"]["slim"].update(value=0.5))
    return folders


def change(folder, edit):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def profiled(folder, full=10.0, slim=5.0, names=("torch",), spread=0.0, **place):
    """Gives a run a profile in which every call took as long, but in the processes of slim, which may differ."""
    run = open_run(folder)
    calls, processes = [factor for factor in (0.9, 1.0, 1.1) for _ in range(4)], [4, 4, 4]
    in_process = [1 + spread * which for which in (-1, 0, 1) for _ in range(4)]
    times = [
        summarise_times(np.array(calls) * each, processes=processes) for each in (full, slim * np.array(in_process))
    ]
    megabytes = [Memory(before=1, peak=int(each * 10**7)) for each in (full, slim)]
    settings = {"processor": "a CPU", "cores": 2, "threads": 1, "versions": {"torch": "2.9"}} | place
    report = ProfileReport(
        run=run.path.name,
        family="meter",
        task="vqa",
        skipped=run.manifest.plan.layers,
        batch=1,
        seconds=1,
        macs=Pair(full=10**8, slim=int(10**7 * slim)),
        macs_by_pool={},
        trims=Trims(before=int(10**7 * slim), after=int(10**7 * slim)),
        uncounted={},
        parameters=Pair(full=10**6, slim=8 * 10**5),
        parameters_by_pool={},
        runtimes=tuple(
            RuntimeProfile(
                name=name,
                full=times[0],
                slim=times[1],
                speedup=estimate_speedup(*times),
                file_bytes=Pair(full=2, slim=1),
                memory=MemoryPair(full=megabytes[0], slim=megabytes[1]),
            )
            for name in names
        ),
        environment=Environment(device="cpu", machine="x86_64 Linux", load=0.1, **settings),
        not_measured=(),
    )
    (folder / "profile.json").write_text(report.model_dump_json())
    change(folder, lambda manifest: manifest["costs"]["macs"].update(report.macs.model_dump()))


def table(report, start):
    return next(each for each in tabulate_runs(report) if each.title.startswith(start))


def cells(found):
    return {row[0]: row[1:] for row in found.rows}


def test_figures_are_those_of_the_runs(copies):
    profiled(copies[0], slim=5.0)
    profiled(copies[1], slim=8.0)
    profiled(copies[2], full=10.2, slim=5.1)
    report = compare_runs(copies)
    assert (report.one_full, report.one_machine, report.warnings) == (True, True, ())
    results = open_run(copies[0]).manifest.results
    answers = table(report, "VQA score")
    assert answers.header == ("", "full", "skip8", "skip7", "again")
    found = cells(answers)
    assert found["layers skipped"] == ("0", "8", "7", "8")
    assert found["score, %"][:3] == (f"{100 * results.full.value:.2f}", f"{100 * results.slim.value:.2f}", "50.00")
    assert found["change, points"][2] == f"{50 - 100 * results.full.value:+.2f}"
    costs = cells(table(report, "What it costs"))
    assert costs["MACs, M"] == ("100.00", "50.00*", "80.00", "51.00")
    assert costs["weights, MB"][0] == f"{open_run(copies[0]).manifest.costs.weight_bytes.full / 1e6:.2f}"
    times = cells(table(report, "Latency in torch"))
    assert times["median, ms"] == ("10.0-10.2", "5.00", "8.00", "5.10")
    assert times["speed-up"] == ("", "2.00x*", "1.25x", "2.00x*")
    assert times["peak memory, MB"] == ("100-102", "50*", "80", "51")


@pytest.mark.parametrize(("spread", "different"), [(0.0, True), (0.05, False)])
def test_runs_whose_pairs_of_processes_differ_as_much_as_they_do_are_not_told_apart(copies, spread, different):
    for folder, slim in zip(copies[:2], (5.0, 5.5), strict=True):
        profiled(folder, slim=slim, spread=spread)
    report = compare_runs(copies[:2])
    (found,) = report.speeds
    assert (found.runtime, found.faster, found.slower) == ("torch", "skip8", "skip7")
    assert found.ratio == pytest.approx(1.1, abs=1e-3)
    assert found.different == different
    speeds = cells(table(report, "Latency in torch"))["speed-up"]
    assert [cell.endswith("*") for cell in speeds] == [False, different, False]
    said = "skip8 is faster than skip7" if different else "skip8 and skip7 differ by no more than a repetition gives"
    assert f"torch: {said} (1.10x, 95 % interval " in "\n".join(write_footnotes(report))


def test_a_profile_of_one_pair_of_processes_is_to_be_repeated(copies):
    for folder in copies[:2]:
        profiled(folder)
    path = copies[0] / "profile.json"
    old = json.loads(path.read_text())
    old["schema_version"] = 2
    for name in ("pairs", "within", "between"):
        del old["runtimes"][0]["speedup"][name]
    path.write_text(json.dumps(old))
    notes = write_footnotes(compare_runs(copies[:2]))
    assert f"not yet: skip8, several process pairs in torch: das profile {copies[0]}" in notes


def test_the_margin_of_the_change_is_that_of_paired_answers(copies):
    run = open_run(copies[0])
    every = run.every_answer()
    each = (every.slim_scores - every.full_scores).astype(float)
    found = compare_runs(copies[:1]).runs[0]
    assert found.change.margin == pytest.approx(1.96 * each.std(ddof=1) / np.sqrt(len(each)))
    assert found.changed.lost - found.changed.gained == pytest.approx(-each.sum())
    assert found.answer_agreement == pytest.approx(1 - found.changed.changed / found.changed.samples)


def test_what_is_missing_says_which_command_measures_it(copies):
    profiled(copies[0], names=("torch", "onnxruntime"))
    profiled(copies[1])
    report = compare_runs(copies)
    assert cells(table(report, "Latency in torch"))["speed-up"][-1] == NOT_YET
    assert cells(table(report, "Latency in onnxruntime"))["speed-up"][-2:] == (NOT_YET, NOT_YET)
    notes = " ".join(write_footnotes(report))
    assert f"again, latency and memory: das profile {copies[2]}" in notes
    assert f"das profile {copies[1]} --runtime torch --runtime onnxruntime" in notes
    assert f"das export {copies[0]} --onnx" in notes


def test_runs_that_nobody_profiled(copies):
    report = compare_runs(copies)
    assert [each.title for each in tabulate_runs(report)] == ["VQA score", "What it costs (1 MAC = 2 FLOPs)"]
    assert f"not yet: skip7, latency and memory: das profile {copies[1]}" in write_footnotes(report)


def test_other_machines_and_versions_are_named(copies):
    profiled(copies[0])
    profiled(copies[1], processor="another CPU", versions={"torch": "2.8"})
    report = compare_runs(copies)
    assert report.one_full
    assert not report.one_machine
    assert "machine of the profiles: a CPU, 2 cores, 1 threads, cpu, batch 1 (skip8); another CPU" in report.warnings[0]
    assert report.warnings[1] == "not comparable, torch in the profiles: 2.9 (skip8); 2.8 (skip7)"
    assert not any("*" in cell for row in table(report, "Latency").rows for cell in row)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda made: made["source"].update(sha256="0" * 64), "full checkpoint: meter.ckpt"),
        (lambda made: made["data"][2].update(fingerprint="f" * 16), "data (test):"),
        (lambda made: made.update(task="snli-ve"), "task: vqa of meter (skip8, again); snli-ve of meter (skip7)"),
        (lambda made: made["dims"].update(text_length=7), "sizes of the inputs: 36 px"),
    ],
)
def test_what_makes_scores_incomparable(copies, edit, says):
    change(copies[1], edit)
    report = compare_runs(copies)
    assert not report.one_full
    assert any(says in warning for warning in report.warnings)
    assert tabulate_runs(report)[0].header == ("", "skip8", "skip7", "again")  # no full model is all of theirs
    assert not any("*" in cell for each in tabulate_runs(report) for row in each.rows for cell in row)


def test_it_fits_into_80_columns(copies):
    for number in range(3):
        copies.append(copies[0].with_name(f"meter-vqa-a-rather-long-name-{number}"))
        shutil.copytree(copies[0], copies[-1])
    for folder in copies[:5]:
        profiled(folder, full=1234.5, slim=1012.25, names=("torch", "onnxruntime"))
    result = das("compare", *(folder.relative_to(folder.parents[1]) for folder in copies))
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(line for line in lines if "%" in line)  # no figure is cut short
    assert "\x1b" not in result.stdout
    assert sum("layers skipped" in line for line in lines) == 2  # six runs are two tables
    for name in ("skip8", "skip7", "again"):
        assert name in result.stdout


def test_markdown_and_json(copies):
    profiled(copies[0])
    text = das("compare", *copies[:2], "--markdown").stdout
    assert text == render_comparison(compare_runs(copies[:2]))
    assert "| score, % |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {5}
    found = json.loads(das("compare", *copies[:2], "--json").stdout)
    assert found["schema_version"] == 1
    assert [len(run["skipped"]) for run in found["runs"]] == [8, 7]


def test_folders_without_runs_are_named_all_at_once(copies, tmp_path):
    result = das("compare", copies[0], tmp_path / "one", tmp_path / "two")
    assert result.exit_code == 3
    assert result.stderr.count("found:") == 2
    assert das("compare").exit_code == 2


def test_a_damaged_profile(copies):
    (copies[0] / "profile.json").write_text("{")
    result = das("compare", copies[0])
    stopped(result, 3, "profile-unreadable", "profile.json", "das profile")


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["meter-vqa-skip2", "meter-vqa-skip8"], ["skip2", "skip8"]),
        (["skip8", "skip8-2"], ["skip8", "skip8-2"]),
        (["a", "a"], ["run 1", "run 2"]),
        (["alone-in-the-world"], ["alone-in-the-world"]),
        (["all-alone-in-the-whole-wide-and-empty-world"], ["all-alone-in-the-…e-and-empty-world"]),
        (["k2", "max-drop"], ["k2", "max-drop"]),
        (["minilm-sst2-skip2", "minilm-sst2-text-classification-skip3"], ["skip2", "skip3"]),
        (["one-long-name-skip2", "another-name-skip2"], ["long", "another"]),
        (["first-quite-long-name", "other-quite-long-name"], ["first", "other"]),
    ],
)
def test_short_names_tell_runs_apart(names, short):
    assert short_names(names) == short
