"""Runs of several seeds: their table, what is refused, whether a difference is chance, and the plot of strategies."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor.errors import InputError
from profiles.comparison.seed_runs import collect_seeds, compare_seeds
from profiles.comparison.seed_tables import describe_differences, describe_seeds, render_seeds, save_seeds
from profiles.reports.plots import draw_strategies
from tests.support.command_line import das, refused, stopped
from tests.support.saved_runs import saved_run


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small run without En1 and En4, to be copied."""
    return saved_run(tmp_path_factory.mktemp("run"), "bert", "text-classification").path


@pytest.fixture
def write(small, tmp_path, monkeypatch):
    """Writes a folder of runs with these scores, by seed."""
    monkeypatch.chdir(tmp_path)

    def written(name, scores, strategy="auto", layers=("En1", "En4"), **settings):
        for seed, score in scores.items():
            folder = Path(name) / f"seed-{seed}"
            shutil.copytree(small, folder)
            made = json.loads((folder / "manifest.json").read_text())
            made["strategy"], made["settings"] = strategy, {**made["settings"], "seed": seed, **settings}
            made["plan"]["skip"] = [{"layer": layer, "adapter_width": 4} for layer in layers]
            made["results"]["slim"]["value"] = score
            made["data"] = [{**split, "fingerprint": "same"} for split in made["data"]]
            (folder / "manifest.json").write_text(json.dumps(made))
        return Path(name)

    return written


def test_the_table_of_three_seeds(write):
    folder = write("three", {0: 0.81, 2: 0.82, 10: 0.86})
    write("three", {11: 0.83}, layers=("En4",))
    found = collect_seeds(folder, {1: "its training diverged", 2: "not asked: it is there"})
    assert [run.seed for run in found.runs] == [0, 2, 10, 11]
    assert [run.folder for run in found.runs] == [f"three/seed-{seed}" for seed in (0, 2, 10, 11)]
    assert found.slim.values == (0.81, 0.82, 0.86, 0.83)
    assert found.change.mean == pytest.approx(found.slim.mean - 0.5)
    assert found.chosen == {"En4": 4, "En1": 3}
    assert [entry.seed for entry in found.missing] == [1]
    lines = render_seeds(found).splitlines()
    macs = f"{100 * found.runs[0].macs.slim / found.runs[0].macs.full - 100:+.1f}"
    assert f"| 10 | 50.00 | 86.00 | +36.00 | {macs} | En1, En4 |" in lines
    assert [line.split(" | ")[:4] for line in lines if line.startswith("| ± sd")] == [["| ± sd", "", "2.16", "2.16"]]
    assert [line for line in lines if "missing" in line] == ["| 1 |  | missing |  |  |  |", lines[-1]]
    assert {"| 4 of 4 | En4 |", "| 3 of 4 | En1 |"} <= set(lines)


def test_what_is_missing_is_remembered(write):
    folder = write("two", {0: 0.8, 1: 0.9})
    save_seeds(folder, {0: "no", 5: "its training diverged"})
    assert collect_seeds(folder).missing[0].why == "its training diverged"
    (folder / "seeds.json").write_text("{")
    with refused(InputError, "seeds-unreadable", folder / "seeds.json"):
        collect_seeds(folder)


def test_one_seed_and_seeds_that_are_all_alike_say_so(write):
    assert "One seed has no spread" in describe_seeds(collect_seeds(write("one", {0: 0.8})))[0]
    assert "the same with every seed" in describe_seeds(collect_seeds(write("alike", {0: 0.8, 1: 0.8})))[0]


@pytest.mark.parametrize(
    ("settings", "names"), [({"recover_epochs": 3}, "another recover_epochs"), ({"seed": 0}, "seed 0 2 times")]
)
def test_runs_that_differ_in_more_than_the_seed_are_no_table(write, settings, names):
    write("mixed", {0: 0.8})
    write("mixed", {1: 0.8}, **settings)
    stopped(das("compare", "mixed", "--json"), 3, "seeds-not-alike", "mixed", names)


def test_a_folder_of_seeds_where_a_run_is_expected_names_the_runs_in_it(write):
    write("two", {0: 0.8, 1: 0.9})
    stopped(das("explain", "two"), 3, "run-missing", "there is two/seed-0, two/seed-1")


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((0.83, 0.80), "+0.50 points, 95 % interval -18.56 to +19.56 (Welch): inside the noise of the seeds"),
        ((0.90, 0.91), "+9.50 points, 95 % interval +3.15 to +15.85 (Welch): more than the noise of the seeds"),
        ((0.90,), "+9.00 points, no interval: it takes two seeds or more of each"),
    ],
)
def test_a_difference_says_whether_it_is_noise(write, ours, verdict):
    base = write("random", {0: 0.81, 1: 0.81})
    folder = write("das", dict(enumerate(ours)))
    given = folder if len(ours) > 1 else folder / "seed-0"
    text = " ".join(das("compare", base, given).stdout.split())
    assert f"{'das' if len(ours) > 1 else 'seed-0'} less random: {verdict}" in text


def test_a_difference_may_be_inside_the_noise_of_the_samples(write):
    """Two of eight answers differ: 25 points, and another sample of eight could turn that round."""
    folders = [write("a", {0: 0.5, 1: 0.5}), write("b", {0: 0.75, 1: 0.75})]
    for folder, right in zip(folders, (4, 6), strict=True):
        for run in folder.glob("seed-*"):
            tensors = load_file(run / "answers.safetensors")
            scores = torch.tensor([1.0] * right + [0.0] * (8 - right))
            every = dict.fromkeys(("expected", "full", "slim"), torch.zeros(8, dtype=torch.int64))
            every |= dict.fromkeys(("full_scores", "slim_scores"), scores)
            save_file(tensors | {f"every.{name}": x.clone() for name, x in every.items()}, run / "answers.safetensors")
    comparison = compare_seeds(folders)
    (found,) = comparison.differences
    each = np.array([0.0] * 4 + [1.0] * 2 + [0.0] * 2)
    assert found.samples_margin == pytest.approx(2.365 * each.std(ddof=1) / 8**0.5)
    assert "but inside that of the samples (± 38.71)" in describe_differences(comparison)[0]


def test_other_data_is_warned_of_and_everything_fits_into_80_columns(write):
    write("two", {0: 0.8, 1: 0.9})
    write("other", {0: 0.8}, layers=())
    made = Path("other/seed-0/manifest.json")
    made.write_text(made.read_text().replace('"same"', '"another"'))
    done = das("compare", "two", "other")
    assert "not comparable, data (val): same (two); another (other)" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert json.loads(das("compare", "two", "other", "--json").stdout)["sets"][1]["chosen"] == {}
    assert das("compare", "two", "other", "--markdown").stdout.startswith("## 2 compressions over seeds\n")
    assert das("compare", "two", "--markdown").stdout == render_seeds(collect_seeds(Path("two")))
    assert "layers skipped" in das("compare", "two").stdout.lower()


def test_strategies_are_drawn_over_the_number_of_layers(write, tmp_path):
    folders = [
        write("r1", {0: 0.7, 1: 0.8}, strategy="random", layers=("En1",)),
        write("r2", {0: 0.6}, strategy="random"),
        write("d1", {0: 0.8, 1: 0.9}, strategy="das", layers=("En1",)),
        write("d2", {0: 0.75}, strategy="das"),
    ]
    axes = draw_strategies(compare_seeds(folders)).axes[0]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines["random"] == ([1, 1, 2], [70, 80, 60])
    assert lines["full model"][1] == [50, 50]
    (bars,) = axes.containers
    assert bars.get_label() == "das, mean ± sd"
    assert (list(bars.lines[0].get_xdata()), list(bars.lines[0].get_ydata())) == ([1, 2], pytest.approx([85, 75]))
    ends = bars.lines[2][0].get_segments()[0][:, 1]
    assert list(ends) == pytest.approx([85 - 50**0.5, 85 + 50**0.5])
    folders += [
        write("d3", {0: 0.7, 1: 0.7}, strategy="das", recover="none"),
        write("none", {0: 0.9}, strategy="none", layers=()),
    ]
    labels = {bars.get_label() for bars in draw_strategies(compare_seeds(folders)).axes[0].containers}
    assert labels == {
        "das, recover train, mean ± sd",
        "das, recover none, mean",
        "nothing skipped, recover train, mean",
    }
    referred = write("referred", {0: 0.8}, reference="/runs/zero")
    assert "reference" in [line.get_label() for line in draw_strategies(compare_seeds([referred])).axes[0].lines]
    assert das("compare", *folders[:4], "--svg", tmp_path / "a.svg").exit_code == 0
    assert das("compare", folders[1] / "seed-0", folders[3] / "seed-0", "--svg", tmp_path / "runs.svg").exit_code == 0
    texts = ElementTree.parse(tmp_path / "a.svg").getroot().itertext()
    assert {"skipped layers", "random", "das, mean ± sd"} <= {text.strip() for text in texts}
