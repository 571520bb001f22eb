"""A run that skips nothing stands for the full model of a checkpoint without a trained head."""

import numpy as np
import pytest

from compressor.compression import compress
from compressor.errors import InputError
from compressor.evaluation.reference import of_full, open_reference
from compressor.evaluation.reference_run import check_reference, open_reference_run, remark_on_reference
from compressor.jobs.prepare_job import prepare_job
from compressor.settings import make_settings
from profiles.comparison.run_vs_run import compare_runs
from profiles.comparison.variant_scores import answered_in_pytorch
from profiles.reports.build_report import build_report
from profiles.reports.compression_tables import tabulate_accuracy
from profiles.reports.sentences import describe_result
from tests.support.command_line import GOLDEN, refused

OPTIONS = {
    **{"checkpoint": str(GOLDEN / "meter_tiny_pretrain.ckpt"), "task": "vqa", "adapt": True},
    **{"tokenizer": "tokenizer.json", "recover_epochs": 1, "batch_size": 32, "device": "cpu"},
}


def asked(**changes):
    return make_settings(**OPTIONS | {"skip": 1, "strategy": "random"} | changes)


def test_its_score_stands_as_the_full_models(workshop):
    zero = compress(asked(skip=0, strategy=None))
    run = compress(asked(reference="runs/latest", parallel_width=3))
    made, kept = run.manifest, run.every_answer()
    assert made.settings.reference == str(zero.path)  # runs/latest is another one now
    assert made.results.full == zero.manifest.results.slim and made.results.slim != made.results.full
    assert kept.full_scores.mean() == pytest.approx(made.results.full.value)
    assert kept.slim_scores.mean() == pytest.approx(made.results.slim.value)
    assert made.results.answer_agreement == pytest.approx(np.mean(kept.full == kept.slim))
    report = build_report(run)
    sentences = " ".join(describe_result(report))
    assert f"the full score is that of {zero.path.name}, which skips nothing" in sentences
    assert "parallel width None, here 3" in sentences
    (warning,) = remark_on_reference(zero, asked(strategy="das", recover="none"))
    assert warning == "The reference was trained otherwise: recover train, here none."
    assert tabulate_accuracy(report).rows[0][0] == "reference model"
    assert report.flips.total.changed == (kept.full != kept.slim).sum()
    (first, second) = compare_runs([zero.path, run.path]).runs
    assert first.change is None and second.change.value == made.results.slim.value - made.results.full.value
    # What is executed as full is the checkpoint with an untrained head: the answers of the reference are not its own.
    assert of_full(run, open_reference(run)).slim is None and answered_in_pytorch(run)["full"].score is None
    why = {entry.what: entry.why for entry in build_report(zero).not_measured}["score of the full model"]
    assert "this run is one for --reference" in why

    job = prepare_job(asked())
    splits, dims = job.data.splits, job.model.dims
    check_reference(zero, job.source, dims.model_copy(update={"parallel_width": 9}), job.data.labels, splits)
    short = splits[2].subset(range(5))
    others = (
        (job.source.model_copy(update={"sha256": "0" * 64}), dims, job.data.labels, splits, "checkpoint"),
        (job.source, dims.model_copy(update={"text_length": 9}), job.data.labels, splits, "text_length 12, not 9"),
        (job.source, dims, job.data.labels[::-1], splits, "classes"),
        (job.source, dims, job.data.labels, (*splits[:2], short), f"{short.name} of {len(splits[2])} rows"),
    )
    for *those, said in others:
        with refused(InputError, "reference-differs", said):
            check_reference(zero, *those)
    with refused(InputError, "reference-unsuitable", f"skips {made.plan.layers[0]}", "--skip 0"):
        open_reference_run(str(run.path), "vqa")
    with refused(InputError, "reference-unsuitable", "is for vqa"):
        open_reference_run(str(zero.path), "nlvr2")


def test_a_run_of_a_fine_tuned_checkpoint_is_none(shared_run):
    with refused(InputError, "reference-unsuitable", "a fine-tuned checkpoint", "and skips"):
        open_reference_run(str(shared_run.path), "vqa")
