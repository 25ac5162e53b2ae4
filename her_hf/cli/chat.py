"""`her-hf chat`: talk to a character in the terminal."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

_SCENE, _MODEL, _SHOWN, _LOG = "Scene and roles", "Model and sampling", "What is shown", "Log"


def _default(value: object) -> str:
    """A default that is settled later than typer could show it."""
    return rf"[dim]\[default: {value}][/dim]"


def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A checkpoint's folder, a Hub id, or the URL of an OpenAI-compatible server."
        ),
    ],
    scenes: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Scenes to choose from: a file, folder or Hub id.", rich_help_panel=_SCENE),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Tavern character card, JSON or PNG.", rich_help_panel=_SCENE),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(metavar="N|WORDS", help="Which scene: its number, or words of it.", rich_help_panel=_SCENE),
    ] = None,
    list_scenes: Annotated[
        bool, typer.Option("--list-scenes", help="List the scenes and leave.", rich_help_panel=_SCENE)
    ] = False,
    role: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whom the model plays.", rich_help_panel=_SCENE)
    ] = None,
    me: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whom you play: one of the cast, or any name.", rich_help_panel=_SCENE),
    ] = None,
    about_me: Annotated[
        str, typer.Option(metavar="TEXT", help="Who you are, if the cast does not say.", rich_help_panel=_SCENE)
    ] = "",
    start: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Begin after the scene's own first N turns. " + _default("0; a card's greeting is said"),
            rich_help_panel=_SCENE,
        ),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which model of a server that has several.", rich_help_panel=_MODEL),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Most tokens of a reply. {_default(1024)}", rich_help_panel=_MODEL),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="T", help=f"0 always takes the likeliest token. {_default(0.7)}", rich_help_panel=_MODEL
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="P", help=f"Probability mass to draw from. {_default(0.9)}", rich_help_panel=_MODEL
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Makes the talk repeatable.", rich_help_panel=_MODEL)
    ] = None,
    max_context: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Most tokens of prompt and reply together. " + _default("the model's own window"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    thinking: Annotated[
        bool | None,
        typer.Option(
            "--thinking/--no-thinking",
            help="Let the character plan before each turn. " + _default("thinking"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="How long one reply of a server may take in all.", rich_help_panel=_MODEL
        ),
    ] = 300.0,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For a model in this process: cpu, cuda, mps. " + _default("the best there is"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    show_system: Annotated[
        bool,
        typer.Option("--show-system/--hide-system", help="System thinking; live: /system.", rich_help_panel=_SHOWN),
    ] = False,
    show_role: Annotated[
        bool,
        typer.Option("--show-role/--hide-role", help="The character's thoughts; live: /role.", rich_help_panel=_SHOWN),
    ] = True,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where every turn is written at once. " + _default("a new file in the user's state folder"),
            rich_help_panel=_LOG,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--continue", metavar="FILE", help="Go on with a logged talk.", rich_help_panel=_LOG),
    ] = None,
) -> None:
    """Talk to a character, and watch or hide both layers of its thinking.

    Type what you say; [yellow](an action)[/yellow] goes in brackets. [cyan]/help[/cyan] lists commands,
    Ctrl-C stops a reply, Ctrl-D leaves.

    Without --scenes and --card it offers the scenes of her-mini, or a small built-in one.
    Lines may come from a pipe; whatever is not said then takes the first choice.

    [dim]her-hf chat outputs/quickstart/her-sft --scene turnpike --role "Mr Darcy"[/dim]

    [dim]her-hf chat http://127.0.0.1:8000/v1 --card card.png --show-system[/dim]
    """
    from her_hf.inference import ModelError, Sampling
    from her_hf.session import Session

    from .chat_commands import Talk, enable_line_editing
    from .chat_screen import Screen
    from .chat_setup import (
        choose_name,
        choose_scene,
        choose_visitor,
        default_log,
        find_scenes,
        open_shown,
        playable,
        scene_table,
    )
    from .terminal import clean

    console = Console(highlight=False)
    ask = sys.stdin.isatty() and console.is_terminal
    enable_line_editing()
    chosen_sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    given: dict[str, Any] = {key: value for key, value in chosen_sampling.items() if value is not None}
    if resume is not None:
        settled = {"--log": log, "--scenes": scenes, "--card": card, "--scene": scene, "--list-scenes": list_scenes}
        settled |= {"--role": role, "--me": me, "--about-me": about_me, "--start": start is not None}
        if said := [option for option, value in settled.items() if value]:
            raise ValueError(
                f"--continue takes scene, roles and log from the logged talk; leave out {', '.join(said)}."
            )
    if resume is None:
        found = find_scenes(scenes, card, me)
        if list_scenes:
            console.print(scene_table(found))
            return
        chosen = choose_scene(found, scene, console, ask=ask)
        names = playable(chosen)
        role = choose_name(names, role, console, ask=ask and not card, question="Whom does the model play?")
        me = choose_visitor([name for name in names if name != role], me, console, ask=ask and not card)

    with asyncio.Runner() as runner:
        opened = open_shown(console, model, model_name=model_name, timeout=timeout, device=device)
        try:
            runner.run(opened.window())  # a server that does not answer is better known now than after a long line
            if resume is not None:
                session = Session.load(
                    resume, opened, sampling=given, thinking=thinking, max_context_tokens=max_context
                )
            else:
                session = Session(
                    chosen,
                    role or names[0],
                    opened,
                    visitor=me,
                    visitor_profile=about_me,
                    opening=chosen.dialogue[: start if start is not None else len(chosen.dialogue) if card else 0],
                    sampling=Sampling(**given),
                    thinking=thinking is not False,
                    max_context_tokens=max_context,
                    log=log or default_log(role or names[0]),
                )
            screen = Screen(console, show_system=show_system, show_role=show_role)
            talk = Talk(session, screen, runner, interactive=ask)
            screen.scene(session)
            talk.show_notes()
            screen.note(f"log: {session.log_path}", whole=True)
            screen.note("/help lists the commands")
            screen.turns(session.turns)
            talk.run()
        except ModelError as error:
            raise ValueError(clean(str(error))) from error
        finally:
            runner.run(opened.close())
    if talk.failed and not ask:
        raise typer.Exit(1)
