"""A small CLIP of generated scenes: one budget over both towers against each tower alone, and how long it is scored.

Both towers have six layers, which are trained from nothing on scenes and captions. Then layers are removed at the same
MACs by three scopes with three seeds each, as ``das compress CLIP --task retrieval --max-macs 0.6x --scope SCOPE
--replace none --recover full`` does. Usage:

    python -m benchmarks.datasets.clip_scenes
    python -m benchmarks.datasets.clip_scenes --report

What is finished stays in the work folder and is not done again: this may be stopped at any time, but while the CLIP is
trained. The report takes what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from pydantic import BaseModel, ConfigDict
from transformers import CLIPConfig, CLIPModel, get_linear_schedule_with_warmup

from benchmarks.results import LogProgress, write_section
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.data.batches import batch_of_step
from compressor.data.generated.captions import write_retrieval
from compressor.data.generated.scenes import COLOURS, SHAPES, SIZE
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.read_data import read_data
from compressor.data.roles import make_scored, make_splits
from compressor.data.splits import Split
from compressor.evaluation.evaluate import evaluate
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from das import api

WORK = Path("work-clip-scenes")
TASK = TASKS["retrieval"]
SCOPES, SEEDS, BUDGET = ("all", "vision", "text"), (0, 1, 2), "0.6x"
LAYERS, TEXT_LENGTH, PATCH, WIDTH = 6, 24, 8, 32
TEXT = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4}
VISION = {"hidden_size": 48, "intermediate_size": 192, "num_attention_heads": 4}
IMAGES, STEPS, BATCH_SIZE, RATE, EPOCHS = 1200, 1200, 32, 2e-3, 4
GALLERY, CAPTIONS = 1000, 5


class Value(BaseModel):
    """A value that is not changed."""

    model_config = ConfigDict(frozen=True)


class Full(Value):
    """The full model: its score, the parts of it, and the seconds of its training."""

    value: float
    margin: float
    parts: Mapping[str, float]
    seconds: float


class Row(Value):
    """A slim model of one scope and one seed; MACs of full and slim."""

    scope: str
    seed: int
    layers: tuple[str, ...]
    macs: tuple[int, int]
    value: float
    parts: Mapping[str, float]
    index: tuple[float, float]


class Timed(Value):
    """Seconds of scoring so many images and captions: all of it, and ranking alone."""

    images: int
    captions: int
    threads: int
    whole: tuple[float, ...]
    ranking: tuple[float, ...]


def make_full(work: Path) -> Full:
    """Train a CLIP, write it to ``work/clip`` and return its score on the test split."""
    data, folder = work / "data", work / "clip"
    write_retrieval(data, IMAGES, 0)
    folder.mkdir()
    words = word_tokenizer(["there is a and", *COLOURS, *SHAPES], "[CLS]")
    ends = {"bos_token_id": words.token_to_id("[CLS]"), "eos_token_id": words.token_to_id("[SEP]"), "pad_token_id": 0}
    text = {**TEXT, **ends, "vocab_size": words.get_vocab_size(), "max_position_embeddings": TEXT_LENGTH}
    vision = {**VISION, "image_size": SIZE, "patch_size": PATCH}
    towers = {name: {**own, "num_hidden_layers": LAYERS} for name, own in (("text", text), ("vision", vision))}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(**{f"{name}_config": own for name, own in towers.items()}, projection_dim=WIDTH))
    words.save(str(folder / "tokenizer.json"))
    model.save_pretrained(folder)
    outline = load_checkpoint(folder, TASK.name).model
    transforms = FAMILIES[outline.family].transforms(outline.dims, words)
    splits = make_splits(read_data(data, TASK.name), data, TASK, transforms, WIDTH)
    seconds = train(model, splits.train)
    model.save_pretrained(folder)
    score = evaluate(load_checkpoint(folder, TASK.name).model, splits.evaluation, TASK).score
    return Full(value=score.value, margin=score.margin, parts=score.parts, seconds=seconds)


def train(model: CLIPModel, split: Split) -> float:
    """Train by contrast of the pairs of a batch; return the seconds it took."""
    started, progress = time.perf_counter(), LogProgress()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    schedule = get_linear_schedule_with_warmup(optimiser, STEPS // 20, STEPS)
    model.train()
    for step in progress.track(range(STEPS), "training the full model", STEPS):
        loss = model(**split.inputs(batch_of_step(step, BATCH_SIZE, len(split), 0)), return_loss=True).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % (STEPS // 10) == 0:
            progress.say(f"step {step}: loss {loss.item():.3f}")
    return time.perf_counter() - started


def measure(scope: str, seed: int, work: Path) -> Row:
    """Compress within the budget by one scope and one seed."""
    out = work / f"run-{scope}-{seed}"
    if not out.exists():
        api.compress(
            work / "clip",
            TASK.name,
            data=work / "data",
            max_macs=BUDGET,
            scope=scope,
            replace="none",
            recover="full",
            recover_epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            seed=seed,
            device="cpu",
            out=out,
            resume=out.with_name(f"{out.name}.partial").exists(),
            progress=LogProgress(),
        )
    made = open_run(out).manifest
    index = made.results.index
    assert index
    return Row(
        scope=scope,
        seed=seed,
        layers=made.plan.layers,
        macs=(made.costs.macs.full, made.costs.macs.slim),
        value=made.results.slim.value,
        parts=made.results.slim.parts,
        index=(index.full_on_full, index.slim_on_full),
    )


def time_scoring(work: Path) -> Timed:
    """Score the full model on 1,000 images with five captions each, three times."""
    data = work / "gallery"
    if not data.exists():
        write_gallery(data)
    model = load_checkpoint(work / "clip", TASK.name).model
    whole, ranking = [], []
    for _ in range(3):
        split = open_gallery(model, data, work)  # nothing is decoded or tokenised yet
        started = time.perf_counter()
        vectors = evaluate(model, split, TASK).outputs
        whole.append(time.perf_counter() - started)
        assert vectors is not None and TASK.measure
        started = time.perf_counter()
        TASK.measure(vectors, split)
        ranking.append(time.perf_counter() - started)
    return Timed(
        images=len(split.gallery),
        captions=len(split),
        threads=torch.get_num_threads(),
        whole=tuple(whole),
        ranking=tuple(ranking),
    )


def write_gallery(data: Path) -> None:
    """Write 1,000 images as the test split, with five captions each."""
    write_retrieval(data, GALLERY, 1)
    path = data / "dataset.json"
    images = [image for image in json.loads(path.read_text())["images"] if image["split"] == "train"]
    for image in images:
        first, second = (sentence["raw"] for sentence in image["sentences"])
        said = (first, second, f"{first} and {second}", f"{second} and {first}", f"there is {first}")
        image |= {"split": "test", "sentences": [{"raw": caption} for caption in said]}
    path.write_text(json.dumps({"images": images, "dataset": "scenes"}))


def open_gallery(model: StepModel, data: Path, work: Path) -> Split:
    """Return the split of :func:`write_gallery`."""
    words = find_tokenizer(None, work / "clip", None).tokenizer
    transforms = FAMILIES[model.family].transforms(model.dims, words)
    return make_scored(read_data(data, TASK.name), data, TASK, transforms, WIDTH).evaluation


def spread(values: Sequence[float]) -> str:
    """Return the mean in per cent, with the standard deviation of several."""
    mean = f"{100 * fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * stdev(values):.1f}"


def tabulate(full: Full, rows: Sequence[Row]) -> str:
    """Return the scores of the full model and of each scope, and which layers went."""
    lines = [
        "| scope | seeds | MACs | mean R@1 | image R@1 | text R@1 | texts on full's images, recall@10 | removed |",
        "|---|---|---|---|---|---|---|---|",
        f"| full | | 100 % | {spread([full.value])} | {spread([full.parts['IR R@1']])} | "
        f"{spread([full.parts['TR R@1']])} | | |",
    ]
    for scope in SCOPES:
        some = [row for row in rows if row.scope == scope]
        if not some:
            continue
        macs = fmean(row.macs[1] / row.macs[0] for row in some)
        parts = (spread([row.parts[f"{way} R@1"] for row in some]) for way in ("IR", "TR"))
        index = f"{spread([row.index[1] for row in some])} of {100 * some[0].index[0]:.1f}"
        removed = "; ".join(dict.fromkeys(", ".join(row.layers) for row in some))
        values = spread([row.value for row in some])
        lines.append(
            f"| {scope} | {len(some)} | {100 * macs:.1f} % | {values} | {' | '.join(parts)} | {index} | {removed} |"
        )
    return "\n".join(lines)


def compare(rows: Sequence[Row]) -> str:
    """Say whether both towers together are better than the better one alone by more than the seeds differ."""
    by_scope = {scope: [row.value for row in rows if row.scope == scope] for scope in SCOPES}
    if any(len(values) < 2 for values in by_scope.values()):
        return "Too few seeds are there to compare the scopes."
    both, *others = (by_scope[scope] for scope in SCOPES)
    alone = max(others, key=fmean)
    gain, apart = 100 * (fmean(both) - fmean(alone)), 100 * max(stdev(both), stdev(alone))
    verdict = "more" if gain > apart else "no more"
    return (
        f"Both towers under one budget have {gain:+.1f} points of mean R@1 beside the better tower alone: {verdict} "
        f"than the seeds' standard deviation, {apart:.1f}."
    )


def write_report(work: Path) -> None:
    """Write the section of what is finished."""
    full = Full.model_validate_json((work / "full.json").read_bytes())
    rows = [Row.model_validate_json(path.read_bytes()) for path in sorted(work.glob("row-*.json"))]
    missing = [
        f"{scope}, seed {seed}"
        for scope in SCOPES
        for seed in SEEDS
        if not any((row.scope, row.seed) == (scope, seed) for row in rows)
    ]
    timed = work / "timed.json"
    body = (
        f"A CLIP with {LAYERS} layers in each tower (texts {TEXT['hidden_size']} wide, images {VISION['hidden_size']}, "
        f"{SIZE} x {SIZE} pixels in patches of {PATCH}), trained from nothing for {STEPS:,} steps of {BATCH_SIZE} "
        f"pairs on {IMAGES:,} generated scenes ({full.seconds / 60:.0f} minutes). Slim models are those of "
        f"`das compress CLIP --task retrieval --max-macs {BUDGET} --scope SCOPE --replace none --recover full`, "
        f"{EPOCHS} epochs. "
        "± is the seeds' standard deviation.\n\n"
        f"{tabulate(full, rows)}\n\n{compare(rows)}"
        + (f" Not run yet: {'; '.join(missing)}." if missing else "")
        + (f"\n\n{describe_times(Timed.model_validate_json(timed.read_bytes()))}" if timed.exists() else "")
    )
    write_section("clip-scenes", "Two towers under one budget: a CLIP of generated scenes", body)


def describe_times(timed: Timed) -> str:
    """Say how long scoring takes."""
    whole, ranking = (f"{min(times):.1f} to {max(times):.1f} s" for times in (timed.whole, timed.ranking))
    return (
        f"Scoring the full model on {timed.images:,} images and {timed.captions:,} captions, all against all, takes "
        f"{whole} on {timed.threads} threads in PyTorch, of which {ranking} are the ranking ({len(timed.whole)} times)."
    )


def main() -> None:
    """Measure what is missing, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--report", action="store_true", help="write the section of what is finished")
    given = parser.parse_args()
    work = given.work
    if given.report:
        write_report(work)
        return
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "full.json").exists():
        (work / "full.json").write_text(make_full(work).model_dump_json())
    for seed in given.seeds:
        for scope in SCOPES:
            if not (kept := work / f"row-{scope}-{seed}.json").exists():
                kept.write_text(measure(scope, seed, work).model_dump_json())
    (work / "timed.json").write_text(time_scoring(work).model_dump_json())


if __name__ == "__main__":
    main()
