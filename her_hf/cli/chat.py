"""`her-hf chat`: chat with a character in the terminal."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from her_hf.inference import Sampling
from her_hf.settings import TIMEOUT

from .options import Calls, ModelReference, Scenes, help_of

_SCENE, _MODEL, _SHOWN, _LOG = "Scene and roles", "Model and sampling", "What is shown", "Log"


def _default(value: object) -> str:
    """A default that typer cannot show because it is determined later."""
    return rf"[dim]\[default: {value}][/dim]"


def chat(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The URL of an OpenAI-compatible server, a folder or a Hub id."),
    ],
    scenes: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help=help_of(Scenes, "scenes"), rich_help_panel=_SCENE),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Tavern character card: JSON, PNG or CHARX.", rich_help_panel=_SCENE),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            metavar="N|WORDS", help="The scene: its number, or words that identify it.", rich_help_panel=_SCENE
        ),
    ] = None,
    list_scenes: Annotated[
        bool, typer.Option("--list-scenes", help="List the scenes and exit.", rich_help_panel=_SCENE)
    ] = False,
    character: Annotated[
        str | None, typer.Option(metavar="NAME", help="The character that the model plays.", rich_help_panel=_SCENE)
    ] = None,
    me: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Your role: a member of the cast, or any name.", rich_help_panel=_SCENE),
    ] = None,
    about_me: Annotated[
        str,
        typer.Option(metavar="TEXT", help="A description of your role, if the cast has none.", rich_help_panel=_SCENE),
    ] = "",
    start: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Start after the first N turns of the scene. " + _default("0; for a card, after its greeting"),
            rich_help_panel=_SCENE,
        ),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=help_of(ModelReference, "name"), rich_help_panel=_MODEL),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"Maximum tokens of a reply. {_default(Sampling().max_tokens)}",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="X",
            help=f"Sampling temperature; 0 is greedy. {_default(Sampling().temperature)}",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            help=f"Nucleus sampling: the probability mass to keep. {_default(Sampling().top_p)}",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed that makes the conversation reproducible.", rich_help_panel=_MODEL),
    ] = None,
    max_context: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum tokens of prompt and reply together. " + _default("the model's context window"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    thinking: Annotated[
        bool | None,
        typer.Option(
            "--thinking/--no-thinking",
            help="Plan each turn in system thinking first; with --no-thinking, reply without. " + _default("thinking"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help=help_of(Calls, "timeout"), rich_help_panel=_MODEL),
    ] = TIMEOUT,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Device of a local model: cpu, cuda, mps. " + _default("the GPU if there is one"),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    show_system: Annotated[
        bool,
        typer.Option(
            "--show-system/--hide-system",
            help="Show system thinking; /system toggles it.",
            rich_help_panel=_SHOWN,
        ),
    ] = False,
    show_role: Annotated[
        bool,
        typer.Option(
            "--show-role/--hide-role",
            help="Show the character's own thoughts; /role toggles them.",
            rich_help_panel=_SHOWN,
        ),
    ] = True,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to which each turn is written immediately. "
            + _default("a new file in the user's state folder"),
            rich_help_panel=_LOG,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--continue", metavar="FILE", help="Continue a logged conversation.", rich_help_panel=_LOG),
    ] = None,
) -> None:
    """Chat with a character, and show or hide both layers of its thinking.

    Type what you say; put [yellow](an action)[/yellow] in parentheses. [cyan]/help[/cyan] lists commands,
    Ctrl-C stops a reply, Ctrl-D exits.

    Without --scenes and --card, the scenes of her-mini are offered, or a small built-in scene.
    Lines may come from a pipe; options that are not given then take the first choice.

    [dim]her-hf chat outputs/quickstart/her-sft --scene turnpike --character "Mr Darcy"[/dim]

    [dim]her-hf chat http://127.0.0.1:8000/v1 --card card.png --show-system[/dim]
    """
    from her_hf.inference import ModelError
    from her_hf.scenes.readers.tavern import is_card_scene
    from her_hf.session import Session

    from .chat_commands import Conversation, enable_line_editing
    from .chat_screen import Screen
    from .chat_setup import (
        choose_name,
        choose_scene,
        choose_visitor,
        find_scenes,
        introduced,
        open_shown,
        playable,
        scene_table,
    )
    from .state import new_log
    from .terminal import clean

    console = Console(highlight=False)
    ask = sys.stdin.isatty() and console.is_terminal
    enable_line_editing()
    chosen_sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    given: dict[str, Any] = {key: value for key, value in chosen_sampling.items() if value is not None}
    if resume is not None:
        fixed = {"--log": log, "--scenes": scenes, "--card": card, "--scene": scene, "--list-scenes": list_scenes}
        fixed |= {"--character": character, "--me": me, "--about-me": about_me, "--start": start is not None}
        if superfluous := [option for option, value in fixed.items() if value]:
            raise ValueError(
                "--continue takes scene, roles and log from the logged conversation; leave out "
                f"{', '.join(superfluous)}."
            )
    if resume is None:
        found = find_scenes(scenes, card, me)
        if list_scenes:
            console.print(scene_table(found))
            return
        chosen = choose_scene(found, scene, console, ask=ask)
        names = playable(chosen)
        greets = is_card_scene(chosen)
        character = choose_name(
            names,
            character,
            console,
            ask=ask and not greets,
            question="Which character does the model play? Number or name",
        )
        me = choose_visitor([name for name in names if name != character], me, console, ask=ask and not greets)
        chosen = introduced(chosen, me, about_me)

    with asyncio.Runner() as runner:
        opened = open_shown(console, model, model_name=model_name, timeout=timeout, device=device)
        try:
            runner.run(opened.window())  # reports a server that does not answer before the first line is typed
            if resume is not None:
                session = Session.load(
                    resume, opened, sampling=given, thinking=thinking, max_context_tokens=max_context
                )
            else:
                session = Session(
                    chosen,
                    character or names[0],
                    opened,
                    visitor=me,
                    visitor_profile=about_me,
                    opening=chosen.dialogue[: start if start is not None else len(chosen.dialogue) if greets else 0],
                    sampling=Sampling(**given),
                    thinking=thinking is not False,
                    max_context_tokens=max_context,
                    log=log or new_log("chats", character or names[0], ".jsonl"),
                )
            screen = Screen(console, show_system=show_system, show_role=show_role)
            conversation = Conversation(session, screen, runner, interactive=ask)
            screen.scene(session)
            conversation.show_notes()
            screen.note(f"log: {session.log_path}", whole=True)
            screen.note("/help lists the commands")
            screen.turns(session.turns)
            conversation.run()
        except ModelError as error:
            raise ValueError(clean(str(error))) from error
        finally:
            runner.run(opened.close())
    if conversation.failed and not ask:
        raise typer.Exit(1)
