"""How often a profile sees a difference that is not there, misses one that is, or is contradicted by the next profile.

    python -m benchmarks.runtimes.verdicts --work work-verdicts

A BERT of MiniLM's size with random weights, 40 tokens. A/A: the same model twice. A/B: the model, and the same without
one layer. All three are timed in turns in groups of fresh processes; a profile is 6 groups, as ``das profile`` takes
them. Beside it stands what one group says that is timed for as long as all six: how das measured before it repeated.
At the end both ways are timed as a user waits for them, loading included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir
from pathlib import Path
from unittest.mock import patch

import torch

import das
from benchmarks.results import LogProgress, write_section
from compressor.checkpoints.write import save_public_checkpoint
from compressor.costs.macs import count_macs
from compressor.data.generated.sentiments import write_sentences
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.families import FAMILIES
from compressor.families.text_encoder.bert_families import BertDims
from compressor.progress import QUIET
from compressor.saved_run.run_folder import Run, open_run
from exporters.export import export
from exporters.folder import exports_of
from exporters.runtimes import find_runtime
from profiles.formatting import Row, format_markdown_table
from profiles.timing import paired
from profiles.timing.latency import Turns, summarise_turns, take_turns
from profiles.timing.speedups import Speedup, estimate_speedup
from profiles.timing.template import Template
from profiles.timing.worker import COMMAND, FULL, MADE_OF, SLIM, Setting, Worker, WorkerRequest

TOKENS, LAYER = 40, "En5"
CONFIG = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
AGAIN = "again"
MODELS = {FULL: FULL, AGAIN: FULL, SLIM: SLIM}  # what each of the three is
GROUPS = paired.USUAL_GROUPS
REPETITIONS = 20
LATER = 3  # profiles between the two that are compared: at least a minute
USUAL_SECONDS = 20.0


def make_run(work: Path) -> Run:
    """The checkpoint, texts of as many tokens, and a run without the layer."""
    if (work / "runs" / "ab").exists():
        return open_run(work / "runs" / "ab")
    torch.manual_seed(0)
    model = FAMILIES["bert"].build(BertDims(config=CONFIG, classes=2, text_length=TOKENS), "text-classification")
    labels = {"0": 0, "1": 1}
    kind = {"architectures": ["BertForSequenceClassification"], "label2id": labels, "id2label": {0: "0", 1: "1"}}
    save_public_checkpoint(model.eval(), work / "minilm", {**CONFIG, **kind})
    write_sentences(work / "data", 20, seed=0)
    texts = []
    for file in (work / "data").glob("*.tsv"):
        header, *lines = file.read_text().splitlines()
        longer = [" ".join([line.split("\t")[0]] * TOKENS) + "\t" + line.split("\t")[1] for line in lines]
        file.write_text("\n".join([header, *longer, ""]))
        texts += [line.split("\t")[0] for line in lines]
    word_tokenizer(texts, "[CLS]").save(str(work / "minilm" / "tokenizer.json"))
    options = {"task": "text-classification", "layers": (LAYER,), "recover": "none", "text_length": TOKENS}
    with chdir(work):
        made = das.compress("minilm", **options, data="data", out="runs/ab", device="cpu")  # type: ignore[arg-type]
    return open_run(made.path)


def make_requests(run: Run, runtime: str, threads: int) -> dict[str, WorkerRequest]:
    """What the processes of each model are to run; files of ONNX Runtime are exported where they are missing."""
    exports, suffix = exports_of(run), find_runtime("onnxruntime")
    files = {FULL: exports.full().path_for(suffix), SLIM: exports.path_for(suffix)}
    for which, load in ((FULL, run.load_full), (SLIM, run.load_slim)):
        if not files[which].exists():
            export(load(), run.samples(), files[which].parent, ["onnx"])
    return {
        name: WorkerRequest(
            run=run.path,
            which=which,
            runtime=runtime,
            file=files[which] if runtime == "onnxruntime" else None,
            threads=threads,
            device="cpu",
            setting=Setting(),
        )
        for name, which in MODELS.items()
    }


def time_group(template: Template, requests: Mapping[str, WorkerRequest], seconds: float) -> Mapping[str, Turns]:
    """The turns of one group of fresh processes."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(one, template.start)) for name, one in requests.items()}
        for worker in workers.values():
            worker.warm_up()
        return take_turns({name: worker.turn for name, worker in workers.items()}, seconds=seconds, least_turns=4)


def profile_twice(
    template: Template, requests: Mapping[str, WorkerRequest], seconds: float
) -> Iterator[tuple[str, str, Speedup]]:
    """A profile of six groups, and what the first alone says, timed for as long as all: comparison, way, speed-up."""
    names = list(requests)
    groups = [time_group(template, requests, seconds)]
    for number in range(1, GROUPS):
        order = {name: requests[name] for name in (names[::-1] if number % 2 else names)}
        groups.append(time_group(template, order, seconds / GROUPS))
    few = 2 * max(2, round(len(groups[0][FULL]) / GROUPS / 2))
    several = [{name: turns[:few] for name, turns in groups[0].items()}, *groups[1:]]
    for way, taken in (("one group", groups[:1]), (f"{GROUPS} groups", several)):
        times = {name: summarise_turns([group[name] for group in taken]) for name in names}
        for comparison, other in (("A/A", AGAIN), ("A/B", SLIM)):
            yield comparison, way, estimate_speedup(times[FULL], times[other])


def count_seconds(requests: Mapping[str, WorkerRequest]) -> float:
    """The seconds that full against slim takes at the usual length, loading included."""
    began = time.perf_counter()
    paired.time_models({which: requests[which] for which in (FULL, SLIM)}, USUAL_SECONDS, QUIET)
    return time.perf_counter() - began


def compare_seconds(runtime: str, requests: Mapping[str, WorkerRequest]) -> Row:
    """One line: the seconds of one group, of as many as a profile takes, and their ratio."""
    with patch.multiple(paired, USUAL_GROUPS=1, LEAST_GROUPS=1, SECONDS_OF_A_GROUP=USUAL_SECONDS):
        one = count_seconds(requests)
    several = count_seconds(requests)
    return runtime, f"{one:.1f}", f"{several:.1f}", f"{several / one:.2f}"


def overlap(found: Sequence[Speedup]) -> tuple[int, int]:
    """How many profiles agree with a later one, of how many; each with the third after it, the last with the first."""
    later = [found[(number + LATER) % len(found)] for number in range(len(found))]
    return sum(a.low <= b.high and b.low <= a.high for a, b in zip(found, later, strict=True)), len(found)


def describe(runtime: str, comparison: str, way: str, found: Sequence[Speedup]) -> Row:
    """One line of the table."""
    faster = sum(one.significant and one.ratio > 1 for one in found)
    slower = sum(one.significant and one.ratio < 1 for one in found)
    agree, all_ = overlap(found)
    ratios, widths = sorted(one.ratio for one in found), sorted(one.width for one in found)
    between = sorted(one.between for one in found if one.between is not None)
    return (
        f"{runtime}, {comparison}, {way}",
        str(faster),
        str(slower),
        f"{agree} of {all_}",
        f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
        f"{widths[len(widths) // 2]:.1%}",
        f"{sorted(one.within or 0 for one in found)[len(found) // 2]:.1%}",
        f"{between[len(between) // 2]:.1%}" if between else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-verdicts"), help="folder for checkpoint, data and run")
    parser.add_argument("--seconds", type=float, default=2, help="that the models of each profile are timed")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--runtime", action="append", choices=("torch", "onnxruntime"), help="default: both")
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    run, threads = make_run(arguments.work.resolve()), torch.get_num_threads()
    requests = {name: make_requests(run, name, threads) for name in arguments.runtime or ("onnxruntime", "torch")}
    found: dict[tuple[str, str, str], list[Speedup]] = {}
    with Template((*COMMAND, MADE_OF)) as template:
        for number in LogProgress().track(range(arguments.repetitions), "profiles", arguments.repetitions):
            for runtime, models in requests.items():
                for comparison, way, speedup in profile_twice(template, models, arguments.seconds):
                    found.setdefault((runtime, comparison, way), []).append(speedup)
                    print(number + 1, runtime, comparison, way, speedup.verdict, flush=True)
    took = [compare_seconds(runtime, models) for runtime, models in requests.items()]
    sample = {name: rows[:1] for name, rows in run.samples().items()}
    full, slim = (count_macs(load(), sample).total for load in (run.load_full, run.load_slim))
    header = ("", "called faster", "called slower", "agree with a later one", "ratios", "width", "within", "between")
    counts = format_markdown_table(header, [describe(*key, speedups) for key, speedups in found.items()])
    costs = format_markdown_table(("full against slim", "one group, s", f"{GROUPS} groups, s", "ratio"), took)
    each = format_markdown_table(
        ("", "ratio", "95 %"),
        [
            (", ".join(key), f"{one.ratio:.3f}", f"{one.low:.3f} to {one.high:.3f}")
            for key, speedups in found.items()
            for one in speedups
        ],
    )
    body = (
        f"BERT of MiniLM's size, {full / 1e9:.2f} GMACs with {TOKENS} tokens; B is without {LAYER}, "
        f"{1 - slim / full:.1%} fewer MACs with its exact trims. {arguments.repetitions} profiles in each runtime, "
        f"{arguments.seconds:g} s of timing each, {threads} threads, batch 1. Asked for of {GROUPS} groups: at most 1 "
        "difference in 20 of A/A; intervals that overlap with those of a later profile (the third after it) in at "
        "least 19 of 20; at most 1.5 times the time. Width, and spreads within a group and between groups, are "
        "medians.\n\n"
        f"{counts}\n\nSeconds that a user waits with `--seconds {USUAL_SECONDS:g}`, loading included:\n\n{costs}\n\n"
        f"<details><summary>Every profile</summary>\n\n{each}\n\n</details>"
    )
    write_section("verdicts", "How far a verdict can be trusted", body)


if __name__ == "__main__":
    main()
