"""Small runs of models that transformers has, of a random model each, with what das save reads of a run."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from compressor.costs.count_costs import count_costs
from compressor.evaluation.score import Score
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.manifest import Manifest, Results, RunSettings, Source
from compressor.saved_run.run_folder import Run
from compressor.saved_run.save_run import save_run
from tests.support import tiny_models as tiny
from tests.support.tiny_exports import inputs_of

SKIPPED, WIDTH = ("En1", "En4"), 5
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def words():
    """Words of the generated kind, of which no text is too long for a tiny model once it is cut."""
    words = [*SPECIAL, *(f"w{i}" for i in range(tiny.VOCABULARY - len(SPECIAL)))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    made.enable_truncation(tiny.LENGTH)
    return made


@cache
def costs():
    """Those of a BERT, for every run: to count them takes longer than all else."""
    full = tiny.model("bert", "text-classification")
    slim = remove_layers(full, make_plan(full, SKIPPED))
    return count_costs(full, slim, {name: x[:1] for name, x in inputs_of(full).items()})


def saved_run(folder, family, task, adapters=True, beside=False, files=None, nothing=False, skipped=SKIPPED) -> Run:
    """A run without En1 and En4: adapters that do something in their place, fresh ones, nothing; beside others, too."""
    full = tiny.model(family, task)
    if beside:
        width = {"parallel_width": WIDTH}
        built = FAMILIES[family].build(full.dims.model_copy(update=width), task)
        built.load_state_dict(full.state_dict(), strict=False)
        full = built
    full.eval()
    if adapters:
        tiny.supernet(full)
    inputs = inputs_of(full)
    if task == "irtr":  # texts of one image each
        inputs = {name: x[: len(inputs["pixel_values"])] for name, x in inputs.items()}
    return run_of(folder, full, inputs, not nothing, skipped=skipped, files=files)


def run_of(folder, full, inputs, adapters, tokenizer=None, skipped=SKIPPED, files=None) -> Run:
    """A run of this model without En1 and En4; its adapters beside layers do something."""
    plan = make_plan(full, skipped, adapters=adapters)
    slim = remove_layers(full, plan)
    for name, parameter in slim.named_parameters():
        if ".adapter." in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        logits = slim(**inputs)
    score = Score(metric="accuracy", value=0.5, margin=0.1, loss=0.7, samples=len(logits))
    manifest = Manifest(
        family=full.family,
        task=full.task,
        dims=full.dims.model_dump(),
        plan=plan,
        strategy="by hand" if skipped else "none",
        candidates=skipped,
        source=Source(path="full", sha256=""),
        data=(
            {"name": "train", "files": ["train.csv"]},
            {"name": "held", "files": []},
            {"name": "val", "files": ["v"]},
        ),
        data_root="",
        settings=RunSettings(checkpoint="full"),
        updated_parameters={},
        device="cpu",
        versions={},
        command="",
        results=Results(full=score, slim=score, floor=0.1, answer_agreement=1.0, seconds={}),
        costs=costs(),
    )
    return save_run(
        Path(folder) / f"{full.family}-{full.task}",
        slim,
        manifest,
        tokenizer=tokenizer or words(),
        source_files=files or {},
        labels=tuple(f"class {i}" for i in range(full.dims.classes)),
        samples=inputs,
        answers={"numbers": torch.arange(len(logits)), "slim": logits},
        result=None,
        log=[],
    )
