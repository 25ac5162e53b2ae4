"""`her-hf serve`: an OpenAI-compatible server for a checkpoint, from the best engine that is installed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from her_hf.serving import Launch, ServeSettings

from .options import Group, with_options

_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""


@with_options
def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A checkpoint folder, a GGUF file or a Hub id (owner/name).")
    ],
    settings: Annotated[ServeSettings, Group()],
    engine_arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT", help="Further arguments of the engine, after --; they override ours."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=r"What the server writes. [dim]\[default: a new file in the user's state folder][/dim]",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command line that would be started, and exit.")
    ] = False,
) -> None:
    """Serve a checkpoint to OpenAI clients: vLLM if it is installed, else transformers serve; llama.cpp for a GGUF.

    Waits until the server answers, prints how to call it, and ends it and its children with Ctrl-C.

    [dim]her-hf serve outputs/quickstart/her-sft --python .venv-vllm[/dim]

    [dim]her-hf serve outputs/quickstart/her-sft -- --max-num-seqs 8[/dim]
    """
    from her_hf.serving import free_port, plan_launch, read_model, running

    from .state import new_log

    extra = engine_arguments or []
    found = read_model(model, needs_template=not any(one.startswith("--chat-template") for one in extra))
    if not dry_run:
        settings = replace(settings, port=free_port(settings.host, settings.port))
    launch = plan_launch(found, settings, extra)
    for note in launch.notes:
        typer.echo(f"Note: {note}", err=True)
    if dry_run:
        typer.echo(launch.shell())
        return
    log = (log or new_log("servers", found.name, ".log")).absolute()
    with (
        _exit_on_signal(),
        _progress(f"{launch.title} loads {launch.model}") as waiting,
        running(launch, log, timeout=settings.ready_timeout, waiting=waiting) as server,
    ):
        waiting(None)
        _print_usage(launch, log)
        _wait(server, launch, log)


def _print_usage(launch: Launch, log: Path) -> None:
    from her_hf.serving import how_to_call

    typer.echo(f"{launch.model} is served at {launch.url} by {launch.title}. Ctrl-C ends it. Log: {log}")
    for way, text in how_to_call(launch).items():
        typer.echo(f"\n# {way}\n{text}")
    sys.stdout.flush()


def _wait(server: subprocess.Popen[bytes], launch: Launch, log: Path) -> None:
    """Returns never: the server ends, which is an error, or a signal ends this."""
    from her_hf.serving import last_lines

    while server.poll() is None:
        time.sleep(0.2)
    lines = "\n".join(f"  {line}" for line in last_lines(log))
    raise ChildProcessError(f"{launch.title} ended ({server.returncode}). Its last lines:\n{lines}\nLog: {log}")


@contextmanager
def _exit_on_signal() -> Iterator[None]:
    """Leaves the block when this process is asked to end, so that the server has ended before this does."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    # One that is ignored stays so: nohup ignores SIGHUP, and a script SIGINT for what runs in its background.
    wanted = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in wanted:
            signal.signal(number, leave)
        yield
    finally:
        for number in wanted:
            signal.signal(number, before[number])


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float | None], None]]:
    """A line that shows how long the user has waited; its function is called with `None` at the end of the wait."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        shown = -_EVERY

        def tell(seconds: float | None) -> None:
            nonlocal shown
            if seconds is not None and seconds - shown >= _EVERY:
                shown = seconds
                typer.echo(f"{what}: {seconds:.0f} s", err=True)

        yield tell
        return
    with console.status(what) as status:
        yield lambda seconds: status.stop() if seconds is None else status.update(f"{what}: {seconds:.0f} s")
