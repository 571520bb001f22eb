"""The ``das`` command: its sub-commands, error messages and exit codes."""

from __future__ import annotations

import datetime
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from compressor.errors import DasError, Interrupted, Terminated, UsageError, usage_error
from das.commands.answers import answers
from das.commands.compare import compare
from das.commands.compress import compress
from das.commands.demo import demo
from das.commands.doctor import doctor
from das.commands.eval import evaluate
from das.commands.explain import explain
from das.commands.export import export
from das.commands.flops import flops
from das.commands.inspect import inspect
from das.commands.loading import ModelCommand
from das.commands.pareto import pareto
from das.commands.predict import PairCommand, predict
from das.commands.profile import profile
from das.commands.reproduce import reproduce
from das.commands.save import save
from das.commands.search import search
from das.commands.trim_vocabulary import trim_vocabulary
from das.commands.tune import tune
from das.commands.verify import verify
from das.terminal import answered, err_console, print_json

KILLED = 128  # exit codes of what a signal ended are this and its number: 130 Ctrl-C, 143 SIGTERM


class DasGroup(TyperGroup):
    """Renders every failure as the contract says: code, three parts, the right exit code, never a bare traceback."""

    def invoke(self, context: Any) -> Any:
        """Run the sub-command; errors become messages on stderr and exit codes, with ``--json`` a document, too."""
        given = [*context.args]  # they are taken from it by the sub-command
        answered.set(False)
        try:
            return super().invoke(context)
        except DasError as error:
            err_console.quiet = False  # of several processes each tells what stopped it
            for problem in error.problems:
                err_console.print(f"error: {problem.code}", style="bold red")
                for part in ("found", "expected", "fix"):
                    err_console.print(f"  {part + ':':<10}{getattr(problem, part)}", soft_wrap=True)
            _answer_with(error, given)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            hint = interrupt.hint if isinstance(interrupt, Interrupted) else "interrupted; nothing half-written is left"
            err_console.print(hint)
            raise typer.Exit(KILLED + getattr(interrupt, "number", signal.SIGINT)) from None
        except BrokenPipeError:
            sys.stdout = None  # type: ignore[assignment]  # the reader has gone: nothing more can be flushed to it
            raise typer.Exit(0) from None
        except Exception as error:
            if hasattr(error, "exit_code"):  # typer's own: usage errors, Exit, Abort
                if hasattr(error, "format_message"):
                    _answer_with(_read_usage(error), given)
                raise
            err_console.quiet = False
            err_console.print(f"internal error, a bug in das: {type(error).__name__}: {error}", style="bold red")
            err_console.print(f"  the traceback is in {_write_traceback()}; please report it", soft_wrap=True)
            raise typer.Exit(1) from None


def _answer_with(error: DasError, given: Sequence[str]) -> None:
    """Print what is wrong in place of the document that ``--json`` asked for, unless that was printed before."""
    if "--json" in given and not answered.get():
        from das.problems import list_problems

        print_json(list_problems(error), indent=None)  # das predict answers in lines


def _read_usage(error: Any) -> UsageError:
    """Return Typer's error, of an option that there is not or a value that cannot be, as one of das."""
    command = error.ctx.command_path if error.ctx else "das"
    return usage_error("usage", error.format_message(), "arguments that the command has", f"{command} --help")


def _write_traceback() -> Path:
    name = f"das-error-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            (folder / name).write_text(traceback.format_exc())
            return folder / name
        except OSError:
            continue
    return Path("(could not be written)")


app = typer.Typer(
    name="das",
    cls=DasGroup,
    help="Find the transformer layers a fine-tuned model does not need, remove them, export and measure what is left.",
    epilog="Start with: das demo. What its words mean: at the end of every run's report.html",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of the help; those that only read JSON or sizes start without PyTorch.
COMMANDS: dict[str, tuple[Callable[..., None], type[TyperCommand]]] = {
    "demo": (demo, ModelCommand),
    "inspect": (inspect, ModelCommand),
    "compress": (compress, ModelCommand),
    "search": (search, ModelCommand),
    "pareto": (pareto, TyperCommand),
    "explain": (explain, TyperCommand),
    "export": (export, ModelCommand),
    "verify": (verify, ModelCommand),
    "profile": (profile, ModelCommand),
    "save": (save, ModelCommand),
    "trim-vocabulary": (trim_vocabulary, ModelCommand),
    "compare": (compare, TyperCommand),
    "reproduce": (reproduce, ModelCommand),
    "flops": (flops, TyperCommand),
    "predict": (predict, PairCommand),
    "doctor": (doctor, TyperCommand),
    "eval": (evaluate, ModelCommand),
    "tune": (tune, ModelCommand),
    "answers": (answers, ModelCommand),
}


def _read_help(command: Callable[..., None]) -> str:
    """Return the docstring with a paragraph in a line: Typer would keep the breaks of the source in the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in (command.__doc__ or "").split("\n\n"))


for name, (command, kind) in COMMANDS.items():
    app.command(name, cls=kind, help=_read_help(command))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"das {version('das-toolkit')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of ``das`` itself."""


def run() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
