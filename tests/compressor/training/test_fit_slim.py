"""Several slim models of one job: the full model is asked once, and each model is what it would be alone."""

import pytest
import torch

from compressor.jobs.prepare_job import prepare_job
from compressor.progress import QUIET, Stages
from compressor.saved_run.resume import RunCheckpoint
from compressor.settings import Settings
from compressor.training import activation_cache
from compressor.training.fit_slim import Fitter


def fitter_of(folder):
    asked = {"checkpoint": str(folder / "roberta"), "data": str(folder / "data"), "device": "cpu", "max_drop": 1}
    job = prepare_job(Settings(**asked, recover_epochs=1, batch_size=8))
    return Fitter(job, RunCheckpoint(None, {}), Stages(), QUIET)


@pytest.mark.parametrize("kept", [0, 1], ids=["everything", "answers"])
def test_the_full_model_answers_once_for_all_models_that_are_tried(shared_sentences, monkeypatch, kept):
    monkeypatch.setattr(activation_cache, "_choose", lambda choices, *_: choices[kept])
    fitter, rows = fitter_of(shared_sentences), []
    job = fitter.job
    epilogue = job.model.epilogue  # slim models have copies of it, hooks and all
    epilogue.register_forward_hook(lambda module, _, logits: rows.append(len(logits)) if module is epilogue else None)
    first, second = fitter.fit(["En1"]), fitter.fit(["En1", "En3"])
    assert sum(rows) == len(job.recovery.order(job.data.train).samples(job.recovery.steps))
    assert first.plan.layers == ("En1",)
    alone = fitter_of(shared_sentences).fit(["En1", "En3"]).model.state_dict()
    assert all(torch.equal(value, alone[name]) for name, value in second.model.state_dict().items())
