"""What the benchmarks say of their figures."""

import csv
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.paper import reproduced_tables
from benchmarks.runtimes import best_deployment, export_seconds, gpu
from benchmarks.search import equal_terms
from benchmarks.search.sieve import KEPT, regret_of_best_kept
from benchmarks.search.strategies import Row
from benchmarks.search.strategies_report import against, line, table
from compressor.search.strategies import STRATEGIES
from exporters.runtimes import RUNTIMES, find_runtime
from exporters.runtimes.sessions import OnnxRunner
from profiles.deployment import best_export
from profiles.timing.latency import cuda_clock, summarise_times
from tests.support import tiny_models as tiny
from tests.support.command_line import das
from tests.support.tiny_exports import full, full_onnx, samples
from tests.support.workers import in_threads


def row(strategy, seed=0, held_out=0.9, asked=1000.0, removed=0.5, fitted=0.8, trained=0.9):
    return Row(
        data="scenes",
        seed=seed,
        strategy=strategy,
        skip=8,
        layers=("FL0",),
        asked=asked,
        others=asked / 2,
        seconds=1,
        held_out=held_out,
        best=0.9,
        rank=1,
        subsets=495,
        full=0.95,
        removed=removed,
        fitted=fitted,
        trained=trained,
    )


def rows(**auto):
    others = [
        row(name, seed, held_out=0.85, asked=20_000.0) for name in STRATEGIES if name != "auto" for seed in (0, 1)
    ]
    return others + [row("auto", seed, **auto) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("auto", "said"),
    [
        ({}, "Median regret 0.00 points, within the target of 0.3; das 5.00."),
        ({"held_out": 0.8}, "Median regret 10.00 points, above the target of 0.3; das 5.00, which is lower."),
        ({}, "Price for this k: 5.0% of das's forward passes, within a tenth; with every other k 7.5%."),
        (
            {"asked": 3000.0},
            "Price for this k: 15.0% of das's forward passes, above a tenth; with every other k 22.5%.",
        ),
        ({"trained": 0.91}, "Test, trained: none better"),
        ({"fitted": 0.79}, "Test, closed form: better than the default: das (+1.00)"),
    ],
)
def test_the_strategies_table_says_where_the_default_meets_its_targets_and_where_not(auto, said):
    assert any(sentence.startswith(said) for sentence in against(rows(**auto)))


def test_the_share_of_the_closed_form_is_taken_where_there_is_something_to_regain():
    nothing_lost = [row(name, removed=0.9, fitted=0.9, trained=0.9) for name in STRATEGIES]
    assert not any("Closed form keeps" in sentence for sentence in against(nothing_lost))
    assert "Closed form keeps a median of 75%" in " ".join(against(rows()))


def test_every_strategy_has_a_line_with_its_price_against_the_published_loop():
    assert line("auto", [row("auto")], [row("das", asked=4000.0)])[6:9] == ("1,000", "25.0%", "500")
    assert all(name in table(rows()) for name in STRATEGIES)


@pytest.mark.parametrize(
    ("scores", "said", "chance"),
    [
        ((0.8, 0.82), "+9.00 points (95 % interval over 2 seeds: -3.71 to +21.71)", True),
        ((0.79, 0.8), "+10.50 points (95 % interval over 2 seeds: +4.15 to +16.85)", False),
        ((0.8,), "+10.00 points", False),
    ],
)
def test_a_difference_between_searches_is_said_with_what_seeds_alone_do(scores, said, chance):
    seeds = range(len(scores))
    compared = [row(name, seed, trained=0.9) for name in equal_terms.STRATEGIES[:-1] for seed in seeds]
    compared += [row("random", seed, trained=score) for seed, score in enumerate(scores)]
    *_, last = equal_terms.differences(compared)
    assert last == f"auto less random (Table B), trained: {said}" + chance * ", no more than seeds alone may do"


def test_the_sieve_measures_what_is_lost_by_looking_at_few_samples():
    scores = np.linspace(0, 1, 100)
    values = np.repeat(np.stack([scores, 1 - scores, 1 - scores], 1)[:, :, None], 8, axis=2)
    assert regret_of_best_kept(values, 2, samples=2) == pytest.approx(0)
    assert regret_of_best_kept(values, 0, samples=2) == pytest.approx(100 * (1 - scores[KEPT - 1]))


def timed(way, runners, samples, device, seconds):
    """Stand for the measurement: full takes 4 ms, slim 2."""
    assert (device, seconds) == ("cpu", 0.01)
    times = {"full": summarise_times([4.0] * 20), "slim": summarise_times([2.0] * 20)}
    return gpu.Timed(times, {"full": 3.0, "slim": None})


def test_the_gpu_scripts_table_has_a_row_for_every_way_and_batch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "timed", timed)
    monkeypatch.setattr(gpu, "opened", lambda way, *_: nullcontext(find_runtime(way.runtime).check("cpu")))
    monkeypatch.setattr(gpu, "export_onnx", lambda model, path, *inputs, **form: path.touch())
    monkeypatch.setattr(gpu, "TINY", tiny.of_few_layers(gpu.TINY))
    monkeypatch.setattr(gpu, "LAYERS", ("FL0",))
    monkeypatch.setattr("sys.argv", ["gpu", "--tiny", "--seconds", "0.01", "--work", str(tmp_path)])
    gpu.main()
    page = capsys.readouterr().out
    for way in gpu.WAYS:
        for batch in gpu.BATCHES:
            row = f"| {way.name}, {way.precision} | {batch} | 4.00 | 2.00 | x2.00 (2.00-2.00) | 0.0% | 3.00 |  | 500 |"
            assert row in page or f"- {way.name}, {way.precision}, batch " in page
    assert "| PyTorch, CUDA graph, bf16 | 32 |" in page and "| ONNX Runtime, one by one, fp16 | 8 |" in page
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.onnx")}  # apart from those of the real size
    forms = ("fused.fp16", "composed.fp16")
    assert files == {Path("tiny", f"{which}.{form}.onnx") for which in ("full", "slim") for form in forms}


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_small_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "TINY", tiny.of_few_layers(gpu.TINY))
    monkeypatch.setattr(gpu, "LAYERS", ("FL0",))
    # Compiling takes a minute for each model, and a second form of attention is written as the first.
    monkeypatch.setattr(
        gpu, "WAYS", tuple(replace(w, batches=(1, 2)) for w in gpu.WAYS if w.name.endswith("one by one"))
    )
    monkeypatch.setattr("sys.argv", ["gpu", "--tiny", "--seconds", "0.01", "--work", str(tmp_path)])
    gpu.main()
    page = capsys.readouterr().out
    for batch in (1, 2):
        for name in ("PyTorch", "ONNX Runtime"):
            assert f"| {name}, one by one, fp16 | {batch} |" in page
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.onnx")}  # apart from those of the real size
    assert files == {Path("tiny", f"{which}.fused.fp16.onnx") for which in ("full", "slim")}


def test_the_gpu_script_says_what_could_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    ways = (replace(way, batches=(1,)) for way in gpu.WAYS if way.runtime != "onnxruntime")
    monkeypatch.setattr(gpu, "WAYS", tuple(ways))
    monkeypatch.setattr("sys.argv", ["gpu", "--tiny", "--seconds", "0.01", "--work", str(tmp_path)])
    gpu.main()
    page = capsys.readouterr().out
    assert "- torch.compile, CUDA graph, fp16, batch 1: no C++ compiler /no/such/compiler" in page
    assert "| PyTorch, CUDA graph, bf16 | 1 |" in page


def test_only_pytorch_on_a_gpu_is_timed_with_its_events():
    clocks = {
        (runtime.name, device): gpu.clock_of(runtime, device) for runtime in RUNTIMES for device in ("cpu", "cuda")
    }
    assert [key for key, clock in clocks.items() if clock is cuda_clock] == [("torch", "cuda"), ("compile", "cuda")]


@pytest.mark.slow
def test_the_gpu_script_lets_go_of_what_it_opened(tmp_path, monkeypatch):
    closed, close = [], OnnxRunner.close
    monkeypatch.setattr(OnnxRunner, "close", lambda runner: (closed.append(runner.path), close(runner)))
    way = next(way for way in gpu.WAYS if way.runtime == "onnxruntime")
    models = {"full": full(), "slim": full()}
    paths = [shutil.copyfile(full_onnx(), way.file(tmp_path, which)) for which in models]
    with gpu.opened(way, models, tmp_path, "cpu") as runners:
        found = gpu.timed(way, runners, samples(), "cpu", 0.01)
    assert sorted(closed) == sorted(paths)
    assert set(found.times) == {"full", "slim"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_the_gpu_script_needs_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu", "--work", str(tmp_path)])
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu.main()


def test_pairs_of_all_years_become_splits_that_share_no_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduced_tables, "HELD_OUT", {"test": 3, "dev": 2})
    monkeypatch.setattr(reproduced_tables, "pretrained", lambda: tmp_path)
    for split in ("train", "dev", "test"):
        lines = [f'{number}.0\t"{split} one\tother {number % 3}' for number in range(6)]  # a quotation mark of its own
        (tmp_path / f"{split}.tsv").write_text("\n".join(["score\tsentence1\tsentence2", *lines]))
    _, data = reproduced_tables.paraphrases(tmp_path, tmp_path)
    found = {split: list(csv.DictReader((data / f"{split}.csv").open())) for split in ("train", "dev", "test")}
    assert [len(rows) for rows in found.values()] == [4, 2, 3]  # of 18 pairs, 9 of which are there twice
    pairs = [(row["text"], row["second"]) for rows in found.values() for row in rows]
    assert len(set(pairs)) == 9
    assert {row["label"] for rows in found.values() for row in rows} == {"0"}  # of two scores the first, 0 to 2


@pytest.fixture
def in_process(monkeypatch):
    """Commands of das run in this process, and ONNX Runtime is the only runtime of files."""

    def run_das(checkout, folder, *typed):
        monkeypatch.chdir(folder)
        done = das(*typed, "--json")
        assert done.exit_code == 0, done.stderr
        return {**json.loads(done.stdout), "seconds_here": 1.0, "cpu_seconds": 2.0, "peak_gb": 0.5}

    in_threads(monkeypatch)
    monkeypatch.setattr(best_export, "RUNTIMES", (find_runtime("onnxruntime"),))
    for script in (best_deployment, export_seconds):
        monkeypatch.setattr(script, "run_das", run_das)


def test_the_deployment_script_times_what_it_can_once_and_says_what_it_cannot(
    tmp_path, monkeypatch, capsys, in_process
):
    def refuse(*given):
        raise ValueError("no such operator")

    ways = (("slim", "onnxruntime", "int8"), ("full", "onnxruntime", "int8"), ("full", "torch", "int8"))
    monkeypatch.setattr(best_deployment, "WAYS", ways)
    monkeypatch.setattr(best_deployment, "transformers_onnx", refuse)
    monkeypatch.setattr(best_deployment, "EXPORTERS", {})
    typed = ["best_deployment", "--tiny", "--seconds", "0.01", "--work", str(tmp_path)]
    monkeypatch.setattr("sys.argv", typed)
    best_deployment.main()
    page = capsys.readouterr().out
    rows = {cells[1].strip(): cells for line in page.splitlines() if len(cells := line.split("|")) > 4}
    assert rows["slim, das export"][3].strip() == "1"
    for name in ("full, PyTorch eager", "full, onnxruntime int8"):
        assert "x (" in rows[name][3]
    assert float(rows["full, onnxruntime int8"][4]) > 1
    assert "- slim int8, earlier das: no --old checkout was given" in page
    assert "- full, torch int8: PyTorch has no int8" in page
    assert "- full, OpenVINO + NNCF int8: no such operator" in page
    assert "`das export`: 1 s, peak of its own process 0.5 GB; kept model." in page
    # A run that goes on measures nothing again.
    monkeypatch.setattr(best_deployment, "time_all", refuse)
    best_deployment.main()
    assert capsys.readouterr().out == page


def test_exports_of_an_earlier_das_take_turns_with_those_of_today(tmp_path, monkeypatch, capsys, in_process):
    typed = ["export_seconds", "--tiny", "--turns", "1", "--work", str(tmp_path), "--old", str(tmp_path / "earlier")]
    monkeypatch.setattr("sys.argv", typed)
    export_seconds.main()
    page = capsys.readouterr().out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    rows = {name: cells for name, *cells in table}
    assert rows["das export"][:4] == ["1", "2", "0.5", ""]
    assert rows["earlier das, --onnx --precision int8"][3] == "1.00"
    assert "model.int8.onnx" in rows["earlier das, --onnx --precision int8"][4]
    assert rows["earlier das, --onnx"][4] == "model.onnx"
    assert not list(tmp_path.glob("tiny/timed-*"))
    monkeypatch.setattr(export_seconds, "export_once", None)  # a run that goes on measures nothing again
    export_seconds.main()
    assert capsys.readouterr().out == page
