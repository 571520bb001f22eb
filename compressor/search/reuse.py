"""Compressing again from the search of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import Problem, UsageError, input_error, usage_error
from compressor.files import TOKENIZER_FILE
from compressor.saved_run.run_folder import SEARCH, Run, open_run, read_run
from compressor.search.result import SearchResult
from compressor.settings import Choice, Settings, given, make_settings

if TYPE_CHECKING:
    from compressor.search.select_layers import FinishedSearch

GOALS = {"skip", "layers", "max_macs", "max_params", "max_latency", "max_drop", "at", "runtime"}
OWN = GOALS | {"device", "out", "from_run"}  # settings that a new run does not take over
SEARCHED = ("layers", "scope", "granularity", "strategy", "balanced", "skip_width")  # what a search was made with
OF_SKIPPED = (*SEARCHED, "reference")  # settings of a run that skips something
FIXED = (*SEARCHED, "parallel_width")  # where that search is used again
WHY_NONE: Mapping[str, str] = {  # a run has no search, by its strategy
    Choice.NOTHING.value: "nothing is skipped in it",
    Choice.NAMED.value: "its layers were named by hand",
    Choice.LOT.value: "its layers were drawn by lot, and nothing was scored",
}


def settings_of(from_run: str | Path | None = None, **options: Any) -> Settings:
    """Return the settings of a compression of a checkpoint, or of one that uses the search of an earlier run.

    Checkpoint, task, data, tokenizer, seed and recipe are the run's then; ``options`` take precedence where they are
    not None. Where nothing is skipped (``skip=0``) the search is left out.

    Raises:
        UsageError: neither, unknown options, all of them at once, or a number that the search did not choose.
        InputError: no run there, one without a search, or its checkpoint is gone or has changed.
    """
    options = given(options)
    if from_run is None:
        if options.get("checkpoint") is None:
            expected = "a fine-tuned checkpoint, or --from RUN"
            raise usage_error("checkpoint-not-given", "no checkpoint", expected, "das compress CKPT --skip 2")
        return make_settings(**options)
    decided = FIXED if options.get("max_drop") is not None else (*FIXED, "holdout")
    if fixed := [name.replace("_", "-") for name in decided if options.get(name)]:
        expected = "the search that was made"
        raise UsageError(
            *(
                Problem("option-decided-by-search", f"--{name} with --from", expected, f"drop --{name} or --from")
                for name in fixed
            )
        )
    run = open_run(from_run)
    search = None if options.get("skip") == 0 else search_of(run)
    checkpoint = run.checkpoint(options.get("checkpoint"))
    own = {**_run_settings(run, options), **options, "checkpoint": str(checkpoint)}
    if search is None:
        return make_settings(
            **{name: value for name, value in own.items() if name in options or name not in OF_SKIPPED}
        )
    settings = make_settings(**own, from_run=str(run.path))
    if settings.skip is not None and settings.skip not in search.chosen and settings.skip > 0:
        sizes = ", ".join(str(size) for size in sorted(search.chosen))
        raise usage_error(
            "number-not-searched",
            f"--skip {settings.skip}: the search of {run.path.name} (strategy {search.strategy}) chose no such number",
            f"one of {sizes}",
            f"--skip {max(search.chosen)}, or search again: das compress {checkpoint} --task {settings.task}",
        )
    return settings


def _run_settings(run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run hands on to another one with these ``options``."""
    settings = run.manifest.settings.model_dump(include=set(Settings.model_fields) - OWN)
    settings["calibration" if settings.get("calibration") else "data"] = run.manifest.data_root  # wherever it was found
    if options.keys() & {"data", "calibration"}:
        settings |= {"data": None, "calibration": None, "columns": {}, "holdout": None, "reference": None}
    tokenizer = run.path / TOKENIZER_FILE
    own = str(tokenizer) if tokenizer.exists() else None  # there is none where no text is read
    return {**settings, "tokenizer": own, "task": run.manifest.task}


def search_of(run: Run) -> SearchResult:
    """Return the result of a run's search.

    Raises:
        InputError: it had none.
    """
    result, manifest = run.search_result(), run.manifest
    if result is None:
        raise input_error(
            "run-without-search",
            f"{run.path.name} has no {SEARCH}: {WHY_NONE.get(manifest.strategy, 'it is gone')}",
            "a run that searched",
            f"das compress {manifest.source.path} --task {manifest.task} --skip {len(manifest.plan.layers) or 2}"
            + " --adapt" * manifest.settings.adapt,
        )
    return result


def open_search(path: str) -> FinishedSearch:
    """Open the search of an earlier run.

    Raises:
        InputError: no run there, or one without a search.
    """
    from compressor.search.select_layers import FinishedSearch

    run = read_run(path)
    return FinishedSearch(search_of(run), run.search_log())
