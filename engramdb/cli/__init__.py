"""The command line: ``engramdb VERB``.

Exit codes are stable: 0 done; 1 the data say no (damage found, not found); 2 usage; 3 locked by another
writer; 4 memory budget; 130 interrupted, with the state whole. An error is one line on stderr; with
``--json`` it is also the document on stdout, ``{"error": {"type", "message", "exit_code"}}``.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from engramdb.cli import (
    bench,
    collecting,
    compacting,
    create,
    cycle,
    demo,
    differences,
    estimate,
    export,
    grow,
    history,
    imports,
    indexing,
    inspection,
    output,
    publish,
    query,
    run,
    scaling,
    serve,
    synth,
    topology,
    traces,
)
from engramdb.errors import BudgetExceeded, EngramError

ORDER = (
    "demo", "create", "import", "grow", "run", "cycle", "prune", "query", "topology", "imprint", "traces",
    "snapshot", "snapshots", "restore", "branch", "branches", "log",
    "diff", "index", "compact", "gc", "inspect", "ls", "dump", "verify",
    "export", "publish", "open", "serve", "keys", "estimate", "scaling", "synth", "bench",
)  # fmt: skip


class InOrder(typer.core.TyperGroup):
    """Lists the verbs in the order in which one meets them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    cls=InOrder,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A database of spiking neurons: make an engram, run it, ask it, and go back in its history.",
    epilog="Exit codes: 0 done, 1 the data say no, 2 usage, 3 locked by another writer, 4 memory budget, "
    "130 interrupted.",
)
app.command()(demo.demo)
app.command()(create.create)
app.add_typer(imports.app, name="import")
app.command()(grow.grow)
app.command()(run.run)
app.add_typer(cycle.app, name="cycle")
app.command()(cycle.prune)
app.add_typer(query.app, name="query")
app.command()(topology.topology)
app.command()(traces.imprint)
app.command()(traces.traces)
app.command()(history.snapshot)
app.command()(history.snapshots)
app.command()(history.restore)
app.command()(history.branch)
app.command()(history.branches)
app.command()(history.log)
app.command()(differences.diff)
app.command()(indexing.index)
app.command()(compacting.compact)
app.command()(collecting.gc)
app.command()(inspection.inspect)
app.command()(inspection.ls)
app.command()(inspection.dump)
app.command()(inspection.verify)
app.add_typer(export.app, name="export")
app.command()(publish.publish)
app.command(name="open")(publish.open_)
app.command()(serve.serve)
app.add_typer(serve.keys, name="keys")
app.command()(estimate.estimate)
app.command()(scaling.scaling)
app.command()(synth.synth)
app.command()(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        import engramdb

        print(f"engramdb {engramdb.__version__}")
        output.stop(0)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@functools.cache
def _command() -> Any:
    """All verbs, made from their functions once: that takes longer than most of them."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. ``arguments`` default to those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr.isatty():  # somebody waits there while kernels are compiled
        told = logging.getLogger("engramdb.kernels")
        told.setLevel(logging.INFO)
        told.addHandler(_Told())
    try:
        code = int(_command()(args=given, prog_name="engramdb", standalone_mode=False) or 0)
        if code == output.INTERRUPTED:  # how the library passes KeyboardInterrupt on
            raise KeyboardInterrupt
        return code
    except EngramError as error:
        return output.report(error, as_json, code=error.exit_code)
    except typer.TyperException as error:
        return output.report(InvalidUsage(error), as_json, code=error.exit_code)
    except BrokenPipeError:
        # The reader of stdout has gone (`engramdb log … | head`): nothing more can be said there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return output.report(EngramError(f"{where}{error.strerror or error}"), as_json, code=1)
    except MemoryError:
        exhausted = BudgetExceeded("the machine has no memory left; give a smaller --memory, or free some")
        return output.report(exhausted, as_json, code=exhausted.exit_code)
    except output.Interrupted as interrupted:
        return output.report(interrupted, False, code=output.INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        stopped = KeyboardInterrupt("interrupted; what was done before is whole")
        return output.report(stopped, as_json, code=output.INTERRUPTED)


class _Told(logging.Handler):
    """Lines of the library on stderr, also while a progress bar stands there."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr)


class InvalidUsage(Exception):
    """A usage error of the command line library in our form: which verb, what, and where to look."""

    def __init__(self, error: typer.TyperException) -> None:
        message = error.format_message().strip().rstrip(".").replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "engramdb"
        command = command.replace("{", "").replace("}", "")  # around the arguments of a group
        verb = command.removeprefix("engramdb").strip()
        message = message[:1].lower() + message[1:]
        super().__init__(f"{verb + ': ' if verb else ''}{message}; see {command} --help")


__all__ = ["app", "main"]
