"""Rules on combinations of settings, in one table, all checked at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from compressor.errors import Problem, UsageError
from compressor.search.budgets import DROP, KINDS, QUANTILES, parse_budget
from compressor.search.strategies import DEFAULT, STRATEGIES, TRANSFER
from compressor.settings import GRANULARITIES, HALF, LARGEST_SEED, LAYER, Choice, Settings
from compressor.tasks import TASKS

FULL, LOT = "full", Choice.LOT.value
RECOVERIES, TRAINED = ("train", FULL, "closed-form", "none"), ("train", FULL)
REPLACEMENTS = ADAPTER, MERGED, NOTHING = ("adapter", "merged", "none")
TRAINING = tuple(name for name, strategy in STRATEGIES.items() if strategy.trains)
ONE_SIZE = tuple(name for name, strategy in STRATEGIES.items() if not strategy.any_size)
GOALS = ("--skip", "--layers", *(f"--max-{kind}" for kind in KINDS))


@dataclass(frozen=True)
class Rule:
    """A combination of settings that is impossible.

    Attributes:
        code: of the problem.
        breaks: tells whether settings are such a combination.
        found, expected, fix: clauses of the problem; ``{s.name}`` stands for a setting.
    """

    code: str
    breaks: Callable[[Settings], bool]
    found: str
    expected: str
    fix: str

    def problem(self, settings: Settings) -> Problem:
        """Return the problem of settings that break the rule."""
        return Problem(self.code, self.found.format(s=settings), self.expected, self.fix.format(s=settings))


def _choices(names: tuple[str, ...]) -> str:
    return f"one of {', '.join(names)}"


def _is_positive(number: float) -> bool:
    return 0 < number < math.inf


def _needs_labels(option: str, breaks: Callable[[Settings], bool], fix: str) -> Rule:
    return Rule(
        "calibration-without-answers",
        lambda s: s.calibration is not None and breaks(s),
        f"--calibration with {option}: training needs answers",
        "data with answers, or no training",
        fix,
    )


def _without_search(goal: str, choice: Choice) -> Rule:
    return Rule(
        "search-beside-layers",
        lambda s: s.choice is choice and bool(s.search_options),
        f"{{s.search_options}} beside {goal}, which leaves nothing to choose",
        "no search",
        "drop {s.search_options}",
    )


GOAL_RULES = (
    Rule(
        "goals-together",
        lambda s: len(s.goals) > 1,
        "{s.goals_text} together",
        "one of them",
        "drop all but {s.goals[0]}",
    ),
    Rule(
        "goal-missing",
        lambda s: not s.goals,
        f"neither {' nor '.join(GOALS)}",
        "what to skip, or a budget",
        "--max-drop 1, or --skip 2; with --adapt or --merge-tokens --skip 0 skips none",
    ),
)
RULES = (
    Rule(
        "budget-without-sizes",
        lambda s: bool(s.limits) and not s.from_run and s.strategy in ONE_SIZE,
        "--strategy {s.strategy} with {s.goals[0]}: it searches for one number of layers",
        "a number of layers",
        f"--skip 2, or --strategy {DEFAULT}",
    ),
    Rule(
        "budget-without-sizes",
        lambda s: bool(s.limits) and not s.from_run and s.adapt and s.strategy not in STRATEGIES,
        f"--adapt with {{s.goals[0]}}: strategy {TRANSFER} searches for one number of layers",
        "a number of layers",
        "--skip 2",
    ),
    Rule(
        "budget-without-sizes",
        lambda s: bool(s.limits) and s.choice is Choice.LOT,
        f"--strategy {LOT} with --adapt and {{s.goals[0]}}: nothing is scored, so no number of layers is better",
        "a number of layers",
        "--skip 2",
    ),
    Rule(
        "drop-with-adapt",
        lambda s: s.adapt and DROP in s.limits,
        "--max-drop with --adapt",
        "a full model with a trained head",
        "--skip 2",
    ),
    Rule(
        "latency-budget-missing",
        lambda s: s.at is not None and "latency" not in s.limits,
        "--at without --max-latency",
        "a latency budget",
        "drop --at",
    ),
    Rule(
        "latency-budget-missing",
        lambda s: s.runtime is not None and "latency" not in s.limits,
        "--runtime without --max-latency",
        "a latency budget",
        "drop --runtime",
    ),
    Rule(
        "unknown-quantile",
        lambda s: "latency" in s.limits and s.at not in (None, *QUANTILES),
        "--at {s.at}",
        _choices(QUANTILES),
        f"--at {QUANTILES[0]}",
    ),
    Rule(
        "skip-too-small",
        lambda s: s.skip is not None and s.skip < 0,
        "--skip {s.skip}",
        "at least 1 layer to skip",
        "--skip 1",
    ),
    Rule(
        "skip-too-small",
        lambda s: s.skip == 0 and not s.adapt and s.merge_tokens is None,
        "--skip 0 without --adapt or --merge-tokens: the model would stay as it is",
        "at least 1 layer to skip, tokens to merge, or a model to adapt",
        "--skip 1; das compress --skip 0 --adapt for a checkpoint that is only pre-trained",
    ),
    Rule(
        "unknown-strategy",
        lambda s: s.strategy not in (None, *STRATEGIES),
        "--strategy {s.strategy}",
        _choices(tuple(STRATEGIES)),
        f"--strategy {DEFAULT}",
    ),
    Rule(
        "strategy-with-adapt",
        lambda s: s.adapt and s.strategy in STRATEGIES and s.strategy not in (*TRAINING, LOT),
        "--strategy {s.strategy} with --adapt: a head without training says nothing about layers",
        f"--strategy {TRANSFER}, which trains it, or {LOT}, which asks nothing of it",
        "drop --strategy",
    ),
    Rule(
        "unknown-granularity",
        lambda s: s.granularity not in GRANULARITIES,
        "--granularity {s.granularity}",
        _choices(GRANULARITIES),
        f"--granularity {LAYER}",
    ),
    Rule(
        "half-layers-with-strategy",
        lambda s: s.granularity == HALF and (s.adapt or s.strategy not in (None, DEFAULT)),
        f"--granularity {HALF} with --adapt or another strategy than {DEFAULT}: they choose whole layers",
        f"a fine-tuned model, and strategy {DEFAULT}",
        "drop --strategy and --adapt, or --granularity",
    ),
    Rule(
        "half-layers-replaced",
        lambda s: s.granularity == HALF and (s.replace == MERGED or s.merge_tokens is not None),
        f"--granularity {HALF} with --replace {MERGED} or --merge-tokens, which are of whole layers",
        f"--replace {ADAPTER} or {NOTHING}, and all tokens",
        f"drop --replace and --merge-tokens, or --granularity {HALF}",
    ),
    Rule(
        "balanced-without-lot",
        lambda s: s.balanced and s.choice is not Choice.NOTHING and (s.strategy != LOT or s.skip is None),
        "--balanced with another strategy than a lot, or without a number of layers",
        f"--strategy {LOT} and --skip",
        f"drop --balanced, or --strategy {LOT} --skip 4",
    ),
    Rule(
        "unknown-recovery",
        lambda s: s.recover not in RECOVERIES,
        "--recover {s.recover}",
        _choices(RECOVERIES),
        f"--recover {RECOVERIES[0]}",
    ),
    Rule(
        "adapt-without-training",
        lambda s: s.adapt and s.recover == "closed-form",
        "--adapt with --recover closed-form: what is adapted has to be trained",
        "--recover train, or none",
        "drop --recover",
    ),
    Rule(
        "adapt-without-training",
        lambda s: s.adapt and s.recover not in (*TRAINED, "closed-form") and s.choice is not Choice.SEARCH,
        "--adapt with --recover {s.recover} and no search: its head would stay untrained",
        "--recover train",
        "drop --recover",
    ),
    Rule(
        "adapt-with-full",
        lambda s: s.adapt and s.recover == FULL,
        f"--adapt with --recover {FULL}: it trains adapters beside weights that stay as they are",
        "one of them",
        "drop --recover; or fine-tune the whole model elsewhere, and give the fine-tuned one",
    ),
    Rule(
        "unknown-replacement",
        lambda s: s.replace not in REPLACEMENTS,
        "--replace {s.replace}",
        _choices(REPLACEMENTS),
        f"--replace {REPLACEMENTS[0]}",
    ),
    Rule(
        "recovery-without-adapters",
        lambda s: s.replace == NOTHING and s.recover in ("train", "closed-form"),
        f"--replace {NOTHING} with --recover {{s.recover}}, which is of adapters",
        "a recovery of what is left, or none",
        f"--recover {FULL}, or --recover none",
    ),
    Rule(
        "recovery-without-maps",
        lambda s: s.replace == MERGED and s.recover in ("train", "none"),
        f"--replace {MERGED} with --recover {{s.recover}}: maps are fitted in closed form",
        f"--recover closed-form, or {FULL} to train all that is left afterwards",
        "--recover closed-form",
    ),
    Rule(
        "search-trains-adapters",
        lambda s: s.replace in (MERGED, NOTHING) and (s.adapt or s.strategy in TRAINING),
        "--replace {s.replace} with a search that trains adapters",
        "a search without training",
        "drop --adapt and --strategy, or --replace",
    ),
    Rule(
        "train-head-without-training",
        lambda s: s.train_head and s.recover != "train" and not s.calibration,
        "--train-head with --recover {s.recover}",
        f"a recovery that trains adapters; {FULL} trains the head, too",
        "drop --train-head",
    ),
    Rule(
        "holdout-beside-calibration",
        lambda s: s.calibration is not None and s.holdout is not None,
        "--holdout with --calibration, whose inputs have no answers",
        "a quarter of the inputs is held out",
        "drop --holdout, or --data in place of --calibration",
    ),
    Rule(
        "data-beside-calibration",
        lambda s: s.calibration is not None and s.data is not None,
        "--data and --calibration together",
        "one of them",
        "drop one",
    ),
    Rule(
        "unknown-task",
        lambda s: s.task not in (None, *TASKS),
        "--task {s.task}",
        _choices(tuple(TASKS)),
        f"--task {next(iter(TASKS))}",
    ),
    _without_search("--layers", Choice.NAMED),
    _without_search("--skip 0", Choice.NOTHING),
    Rule(
        "width-too-small",
        lambda s: s.parallel_width is not None and s.parallel_width < 1,
        "--parallel-width {s.parallel_width}",
        "at least 1",
        "--parallel-width 96",
    ),
    Rule(
        "width-too-small",
        lambda s: s.skip_width is not None and s.skip_width < 1,
        "--skip-width {s.skip_width}",
        "at least 1",
        "--skip-width 96",
    ),
    Rule(
        "width-without-adapters",
        lambda s: s.parallel_width is not None and not s.adapt,
        "--parallel-width without --adapt, which puts such adapters beside the layers",
        "both",
        "drop --parallel-width, or --adapt",
    ),
    Rule(
        "width-without-adapters",
        lambda s: s.skip_width is not None and (s.replace != ADAPTER or s.choice is Choice.NOTHING),
        "--skip-width where no adapter stands in place of a layer",
        "skipped layers with adapters in their place",
        "drop --skip-width",
    ),
    Rule(
        "reference-without-adapt",
        lambda s: s.reference is not None and not s.adapt,
        "--reference without --adapt: a fine-tuned checkpoint is its own",
        "--adapt",
        "drop --reference",
    ),
    Rule(
        "reference-without-adapt",
        lambda s: s.reference is not None and s.choice is Choice.NOTHING,
        "--reference with --skip 0, which is one for other runs",
        "a number of layers",
        "drop --reference",
    ),
    Rule(
        "batch-size-too-small",
        lambda s: s.batch_size < 1,
        "--batch-size {s.batch_size}",
        "at least 1 sample",
        "--batch-size 64",
    ),
    Rule("seed-negative", lambda s: s.seed < 0, "--seed {s.seed}", "0 or more", "--seed 0"),
    Rule("seed-too-large", lambda s: s.seed > LARGEST_SEED, "--seed {s.seed}", "at most 2^63 - 1", "--seed 0"),
    Rule(
        "learning-rate-not-positive",
        lambda s: s.learning_rate is not None and not _is_positive(s.learning_rate),
        "--learning-rate {s.learning_rate:g}",
        "a positive number",
        "leave it out",
    ),
    Rule(
        "epochs-not-positive",
        lambda s: not _is_positive(s.search_epochs),
        "--search-epochs {s.search_epochs:g}",
        "a positive number of passes over the data",
        "--search-epochs 3",
    ),
    Rule(
        "epochs-not-positive",
        lambda s: not _is_positive(s.recover_epochs),
        "--recover-epochs {s.recover_epochs:g}",
        "a positive number of passes over the data",
        "--recover-epochs 3",
    ),
)
LABEL_RULES = (
    _needs_labels("--recover {s.recover}", lambda s: s.recover in TRAINED, "--recover closed-form, or --data FOLDER"),
    _needs_labels(
        "--strategy {s.strategy}", lambda s: s.strategy in TRAINING, f"--strategy {DEFAULT}, or --data FOLDER"
    ),
    _needs_labels("--adapt", lambda s: s.adapt, "--data FOLDER"),
    _needs_labels("--train-head", lambda s: s.train_head, "drop --train-head, or --data FOLDER"),
)


def check_options(settings: Settings) -> None:
    """Refuse impossible options.

    Raises:
        UsageError: all of them at once.
    """
    problems = [*_apply(GOAL_RULES, settings), *_limit_problems(settings), *_apply(RULES, settings)]
    if problems:
        raise UsageError(*problems)


def check_labels(settings: Settings) -> None:
    """Refuse training on inputs without answers.

    Raises:
        UsageError: all options that train.
    """
    if problems := _apply(LABEL_RULES, settings):
        raise UsageError(*problems)


def _apply(rules: tuple[Rule, ...], settings: Settings) -> list[Problem]:
    return [rule.problem(settings) for rule in rules if rule.breaks(settings)]


def _limit_problems(settings: Settings) -> list[Problem]:
    """Return the problems of limits that cannot be parsed."""
    problems: list[Problem] = []
    for kind, limit in settings.limits.items():
        try:
            parse_budget(kind, limit)
        except UsageError as error:
            problems += error.problems
    return problems
