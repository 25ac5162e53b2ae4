"""`her-hf chat`: what is typed, what is shown, what is logged; lines from a pipe, and a person at a terminal."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from her_hf.cli import chat_setup
from her_hf.cli.chat import chat
from her_hf.cli.chat_commands import Conversation
from her_hf.cli.chat_screen import Flow, Screen
from her_hf.cli.main import main
from her_hf.dual_layer import parse_turn
from her_hf.scenes import Character, Scene, load_scenes
from her_hf.session import Session
from her_hf.session.builtin import builtin_scene
from tests.support.chat import BODY, FULL, THINKING, ScriptedModel, StandIn, serving, small_scene
from tests.support.paths import ROOT

app = typer.Typer()
app.command()(chat)

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

SPOKEN = "[Not the drawer.] (pours tea) Sugar, Mr. Bell?"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No scenes at hand but the built-in one, logs in the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(chat_setup, "her_mini", lambda: None)
    return tmp_path


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serving() as stand_in:
        yield stand_in


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    path = tmp_path / "scenes.jsonl"
    other = Scene(book="Harbour", topic="nets", cast=[Character(name="Jo"), Character(name="Ann Lee")])
    path.write_text(f"{small_scene().model_dump_json()}\n{other.model_dump_json()}\n", encoding="utf-8")
    return path


def talk(*args: object, lines: str = "") -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=lines)


def logs(home: Path) -> list[Path]:
    return sorted((home / "state" / "her_hf" / "chats").glob("*.jsonl"))


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# -- a whole talk through a pipe


def test_a_chat_is_shown_and_logged(server: StandIn, scenes: Path, home: Path) -> None:
    done = talk(server.url, "--scenes", scenes, "--scene", 1, lines="(bows) Good day.\nThank you.\n/quit\nnot read\n")
    assert done.exit_code == 0, done.output
    assert "You are Mr. Bell; the model plays Ann." in done.output
    assert done.output.count(SPOKEN) == 2
    assert THINKING not in done.output
    (log,) = logs(home)
    assert str(log) in done.output
    assert [record["kind"] for record in records(log)] == ["session"] + ["turn"] * 4
    assert server.chats[1]["messages"][2] == {"role": "assistant", "content": BODY}
    assert "not read" not in str(server.chats)


@pytest.mark.parametrize(
    ("flags", "shown", "hidden"),
    [
        ([], "[Not the drawer.]", THINKING),
        (["--show-system"], f"┊ {THINKING}", "never"),
        (["--hide-role"], "(pours tea) Sugar", "Not the drawer"),
    ],
)
def test_layers_are_shown_or_hidden(server: StandIn, scenes: Path, flags: list[str], shown: str, hidden: str) -> None:
    done = talk(server.url, "--scenes", scenes, *flags, lines="Good day.\n")
    assert shown in done.output
    assert hidden not in done.output


def test_toggles_are_live_and_show_the_last_turn_again(server: StandIn, scenes: Path) -> None:
    done = talk(server.url, "--scenes", scenes, lines="Good day.\n/system\n/role\nAnd?\n/system\nSo?\n")
    before, after = done.output.split("System thinking is now shown")
    assert THINKING not in before
    shown, rest = after.split("Role thinking is now hidden")
    assert f"┊ {THINKING}" in shown
    again, last = rest.split("System thinking is now hidden")
    assert THINKING in again and THINKING not in last
    assert "Not the drawer" not in rest


def test_commands(server: StandIn, scenes: Path, home: Path) -> None:
    saved = home / "my talk.jsonl"
    lines = [
        "/history",
        "Good day.",
        "/edit 1 (waves) Hello.",
        "/regenerate",
        "/history",
        "/prompt",
        "/narrate It thunders.",
        "/undo",
        f"/save {saved}",
        "/save",
        "/scene",
        "//slash",
        "/clear",
        "/history",
        "/help",
    ]
    done = talk(server.url, "--scenes", scenes, lines="\n".join(lines) + "\n")
    assert done.exit_code == 0, done.output
    out = done.output
    assert out.count("there are no turns") == 2
    assert "  1 Mr. Bell\n  (waves) Hello.\n  2 Ann\n" in out
    assert server.chats[1]["messages"][-1]["content"].endswith("Mr. Bell: <role_action>waves</role_action> Hello.")
    assert "plain messages" in out and "===Conversation Start===" in out
    assert server.chats[2]["messages"][-1]["content"] == "Environment: It thunders."
    assert "removed 2 turns (Environment, Ann)" in out
    assert [record["kind"] for record in records(saved)] == ["session", "turn", "turn", "turn"]  # both replies
    assert "already in" in out
    assert server.chats[3]["messages"][-1]["content"] == "Mr. Bell: /slash"
    assert "removed 4 turns" in out
    assert "/regenerate" in out.split("/help")[-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/fly", "no command /fly"),
        ("/edit", "needs the number"),
        ("/edit 7 x", "1 to 2"),
        ("/edit 1", "needs the new text"),
        ("/edit 2 Mr. Bell: x", "is Ann's"),
        ("/narrate", "The text is empty"),
        ("/save /proc/none/x", "none"),
    ],
)
def test_a_wrong_command_is_reported_and_the_chat_continues(
    server: StandIn, scenes: Path, line: str, words: str
) -> None:
    done = talk(server.url, "--scenes", scenes, lines=f"Good day.\n{line}\nStill there?\n")
    assert words in done.output.replace("\n", " ")
    assert done.exit_code == 0
    assert len(server.chats) == 2
    assert talk(server.url, "--scenes", scenes, lines=f"Good day.\n{line}\n").exit_code == 1


def test_an_empty_line_lets_the_character_begin_but_not_go_on(server: StandIn, scenes: Path) -> None:
    done = talk(server.url, "--scenes", scenes, lines="\n\n")
    assert server.chats[0]["messages"][-1]["content"] == "===Conversation Start==="
    assert len(server.chats) == 1
    assert "Ann has spoken" in done.output


def test_a_failed_request_is_shown_and_the_chat_continues(server: StandIn, scenes: Path, home: Path) -> None:
    server.errors = [(500, "engine on fire")]
    done = talk(server.url, "--scenes", scenes, lines="Good day.\n/regenerate\n")
    assert "engine on fire" in done.output
    assert "/regenerate tries again" in done.output
    assert SPOKEN in done.output
    assert done.exit_code == 0
    assert [record["kind"] for record in records(logs(home)[0])] == ["session", "turn", "failed", "turn"]
    server.errors = [(500, "engine on fire")]
    assert talk(server.url, "--scenes", scenes, lines="Good day.\n").exit_code == 1


def test_a_cut_or_odd_reply_is_marked(server: StandIn, scenes: Path) -> None:
    server.finish, server.body = "length", "Ann: Well <role_action>turns"
    done = talk(server.url, "--scenes", scenes, lines="Good day.\n")
    assert "truncated after 20 tokens; not well-formed: unclosed" in done.output
    assert "--max-tokens" in done.output
    server.finish, server.body = "stop", "Well."
    done = talk(server.url, "--scenes", scenes, lines="Good day.\n")
    assert "not well-formed: no label 'Ann'\n" in done.output


def test_the_window_is_said_once_for_each_cut(server: StandIn, scenes: Path) -> None:
    long = f"Line {'x ' * 200}\n"

    def cuts(lines: str, start: int = 0) -> list[str]:
        how = ("--scenes", scenes, "--max-context", 680, "--max-tokens", 60, "--start", start)
        done = talk(server.url, *how, lines=lines)
        said = done.output.replace("\n", " ")
        return re.findall(r"The oldest (message no longer fits|\d messages no longer fit) into the model's", said)

    growing = cuts(long * 4)
    assert growing == ["message no longer fits", "3 messages no longer fit", "5 messages no longer fit"]
    assert len(server.chats[-1]["messages"]) < 8
    assert server.chats[-1]["max_tokens"] == 60
    once = cuts(long * 2 + "/regenerate\n" * 2)
    assert once == growing[:1]
    assert cuts(long * 2 + "/clear\n" + long * 2) == once * 2
    # A reply that has all of the talk before it: the next cut is news.
    assert cuts(long * 2 + "/undo\n/undo\nShort.\n/undo\n" + long * 2) == once * 2
    # An opening that is cut from the first reply on is news whenever the scene begins anew.
    turns = [parse_turn(f"Mr. Bell: {long}"), parse_turn(f"Ann: {long}")]
    scenes.write_text(small_scene().model_copy(update={"dialogue": turns}).model_dump_json(), encoding="utf-8")
    assert cuts(f"{long}/regenerate\n/clear\n{long}", start=2) == ["2 messages no longer fit"] * 2


# -- who, where, what


def test_without_scenes_there_is_one(server: StandIn) -> None:
    done = talk(server.url, lines="/quit\n")
    assert builtin_scene().book in done.output
    assert "You are Edmund Vail; the model plays Isobel Rae." in done.output


def test_a_custom_name_and_an_own_role(server: StandIn, scenes: Path) -> None:
    who = ("--scene", "parlour", "--character", "bell", "--me", "Orlok", "--about-me", "A guest.", "--start", 2)
    how = ("--seed", 3, "--no-thinking", "--temperature", 0)
    done = talk(server.url, "--scenes", scenes, *who, *how, lines="Hm.\n")
    assert "You are Orlok; the model plays Mr. Bell." in done.output
    assert "(curtsies) Sir." in done.output
    (body,) = server.chats
    assert "Orlok: A guest." in body["messages"][0]["content"]
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert body["temperature"] == 0
    assert isinstance(body["seed"], int)


def test_a_card_greets_its_visitor(server: StandIn, tmp_path: Path) -> None:
    card = {
        "spec": "chara_card_v2",
        "spec_version": "2.0",
        "data": {
            "name": "Captain",
            "description": "Old.",
            "first_mes": "*nods* Ahoy, {{user}}.",
            "scenario": "A quay.",
        },
    }
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    done = talk(server.url, "--card", path, "--me", "Kit", lines="Hello.\n")
    assert "Captain\n  (nods) Ahoy, Kit." in done.output
    assert server.chats[0]["messages"][2]["content"] == "Captain: <role_action>nods</role_action> Ahoy, Kit."


def card_file(folder: Path, **changes: Any) -> Path:
    data = {"name": "Captain", "description": "Old.", "first_mes": "*nods* Ahoy, {{user}}.", "scenario": "A quay."}
    path = folder / "card.json"
    path.write_text(json.dumps({"spec": "chara_card_v2", "data": {**data, **changes}}), encoding="utf-8")
    return path


@pytest.mark.parametrize("option", ["--card", "--scenes"])
def test_a_card_is_a_card_whichever_option_names_it(server: StandIn, tmp_path: Path, option: str) -> None:
    path = card_file(tmp_path, description="Knows {{user}}.")
    done = talk(server.url, option, path, "--me", " Kit  Hale ", "--about-me", "A cooper's child.", lines="Hello.\n")
    assert done.exit_code == 0, done.output
    assert "You are Kit Hale; the model plays Captain." in done.output
    assert "(nods) Ahoy, Kit Hale." in done.output, "the greeting is said"
    prompt = server.chats[0]["messages"][0]["content"]
    assert "Knows Kit Hale." in prompt and "Kit Hale: A cooper's child." in prompt


@pytest.mark.parametrize("me", [[], ["--me", "User"], ["--me", "Kit"]])
def test_about_me_counts_with_a_card(server: StandIn, tmp_path: Path, me: list[str]) -> None:
    talk(server.url, "--card", card_file(tmp_path), *me, "--about-me", "A cooper's child.", lines="Hello.\n")
    assert f"{(me or ['', 'User'])[1]}: A cooper's child." in server.chats[0]["messages"][0]["content"]


def test_about_me_is_refused_where_the_cast_says_who_that_is(server: StandIn, scenes: Path) -> None:
    said = ["--scenes", scenes, "--scene", "1", "--about-me", "A thief."]
    done = talk(server.url, *said, "--me", "Mr. Bell", lines="Hello.\n")
    assert done.exit_code == 1 and "the scene already describes 'Mr. Bell'" in str(done.exception)
    assert talk(server.url, *said, "--me", "Zoe", lines="Hello.\n").exit_code == 0
    assert "Zoe: A thief." in server.chats[-1]["messages"][0]["content"]


@pytest.mark.parametrize("option", ["--card", "--scenes"])
@pytest.mark.parametrize("name", ["a: b", "<think>", "x" * 41])
def test_names_of_visitors_are_checked_alike(
    server: StandIn, tmp_path: Path, scenes: Path, option: str, name: str
) -> None:
    for source in (card_file(tmp_path), scenes) if option == "--scenes" else (card_file(tmp_path),):
        done = talk(server.url, option, source, "--me", name, lines="Hello.\n")
        assert done.exit_code == 1 and "A name must have 1 to 40 characters" in str(done.exception)


@pytest.mark.parametrize("name", ["修表人" * 30, "é" * 150, "x" * 280, "🙂" * 70, "a" + "修" * 100])
def test_a_long_name_still_gets_a_log(server: StandIn, tmp_path: Path, home: Path, name: str) -> None:
    done = talk(server.url, "--card", card_file(tmp_path, name=name), lines="Hello.\n")
    assert done.exit_code == 0, done.output
    (log,) = logs(home)
    assert len(log.name.encode()) < 143 and log.stat().st_size


def test_unused_parts_of_a_card_are_reported(
    server: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = {"entries": [{"keys": ["sea"], "content": "Deep."}, {"constant": True, "content": "{{char}} is lame."}]}
    done = talk(server.url, "--card", card_file(tmp_path, character_book=book), lines="Hello.\n")
    assert done.exit_code == 0
    assert "card 'Captain': 1 of its lorebook's entries need keywords" in caplog.text
    assert "Captain is lame." in server.chats[0]["messages"][0]["content"]


def test_one_of_many_cards_may_be_called_as_the_visitor(
    server: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    for name in ("Ada", "Bram"):
        card_file(tmp_path, name=name, scenario="{{user}} knocks.").rename(cards / f"{name}.json")
    done = talk(server.url, "--scenes", cards, "--me", "Bram", lines="Hello.\n")
    assert "You are Bram; the model plays Ada." in done.output
    assert "Bram.json, line 1, field 'data.name': is 'Bram', which is also the visitor's name" in caplog.text
    done = talk(server.url, "--scenes", cards, "--scene", "bram", "--me", "Bram", lines="Hello.\n")
    assert done.exit_code == 1 and "No scene contains the words 'bram'" in str(done.exception)


def test_a_character_called_user_is_met_by_somebody_else(server: StandIn, tmp_path: Path) -> None:
    path = card_file(tmp_path, name="User")
    done = talk(server.url, "--card", path, lines="Hello.\n")
    assert "You are Stranger; the model plays User." in done.output
    done = talk(server.url, "--card", path, "--me", "user", lines="Hello.\n")
    assert done.exit_code == 1 and str(done.exception).startswith(f"{path}, line 1, field 'data.name'")


def test_a_chat_from_a_deep_card_can_be_saved_and_continued(server: StandIn, tmp_path: Path, home: Path) -> None:
    nested: Any = 1
    for _ in range(80):
        nested = [nested]
    done = talk(server.url, "--card", card_file(tmp_path, extensions=nested), lines=f"Hi.\n/save {home}/saved.jsonl\n")
    assert done.exit_code == 0, done.output
    for log in (*logs(home), home / "saved.jsonl"):
        assert talk(server.url, "--continue", log, lines="Hi again.\n").exit_code == 0


def test_scenes_are_listed(server: StandIn, scenes: Path, home: Path) -> None:
    done = talk(server.url, "--scenes", scenes, "--list-scenes")
    assert re.search(r"2\s+Harbour\s+nets\s+Jo, Ann Lee", done.output)
    assert server.requests == []
    assert logs(home) == []
    scenes.write_text(f"{small_scene().model_dump_json()}\n" * 61, encoding="utf-8")
    assert "61  The Drawer" in talk(server.url, "--scenes", scenes, "--list-scenes").output


def test_a_chat_resumes(server: StandIn, scenes: Path, home: Path) -> None:
    talk(server.url, "--scenes", scenes, "--me", "Orlok", "--max-tokens", 77, lines="Good day.\n")
    (log,) = logs(home)
    done = talk(server.url, "--continue", log, "--temperature", 0.1, lines="And?\n")
    assert done.exit_code == 0, done.output
    assert done.output.count(SPOKEN) == 2
    assert len(server.chats[-1]["messages"]) == 4
    assert (server.chats[-1]["max_tokens"], server.chats[-1]["temperature"]) == (77, 0.1)
    assert server.chats[-1]["chat_template_kwargs"]["enable_thinking"] is True
    assert logs(home) == [log]
    talk(server.url, "--continue", log, "--no-thinking", lines="So?\n")
    assert server.chats[-1]["chat_template_kwargs"]["enable_thinking"] is False
    first, second = (record for record in records(log) if record["kind"] == "continued")
    assert (first["sampling"]["temperature"], first["sampling"]["max_tokens"]) == (0.1, 77)
    assert (first["thinking"], second["thinking"]) == (True, False)


@pytest.mark.parametrize(
    "option", [["--start", "0"], ["--about-me", "A guest."], ["--list-scenes"], ["--character", "Ann"], ["--log", "x"]]
)
def test_a_resumed_chat_has_its_scene_already(server: StandIn, option: list[str]) -> None:
    done = talk(server.url, "--continue", "x.jsonl", *option)
    assert isinstance(done.exception, ValueError)
    assert str(done.exception).endswith(f"leave out {option[0]}.")


def test_a_file_that_is_no_log_stays_as_it_is(server: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "precious.json"
    path.write_text('{"precious": 1}', encoding="utf-8")
    assert talk(server.url, "--continue", path).exit_code == 1
    assert path.read_text(encoding="utf-8") == '{"precious": 1}'


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--scene", "9"], "there are 2"),
        (["--scene", "volcano"], "No scene contains the words"),
        (["--scene", "ann"], "2 scenes contain the words"),
        (["--character", "Zorro"], "not one of: Ann, Mr. Bell"),
        (["--me", "Ann", "--character", "Ann"], "cannot be 'Ann'"),
        (["--me", "ann", "--character", "Ann"], "cannot be 'ann'"),
        (["--card", "x.png"], "not both"),
        (["--continue", "x.jsonl"], "leave out --scenes"),
        (["--temperature", "99"], "temperature"),
        (["--model-name", "m", "--log", "."], "is a folder: name a file"),
    ],
)
def test_what_cannot_be_meant(server: StandIn, scenes: Path, args: list[str], words: str) -> None:
    done = talk(server.url, "--scenes", scenes, *args, lines="Good day.\n")
    assert done.exit_code == 1
    assert re.search(words, f"{done.output} {done.exception}".replace("\n", " "))
    assert server.chats == []


def test_a_scene_with_nobody_in_it(server: StandIn, scenes: Path) -> None:
    world = Scene(book="The Storm", cast=[Character(name="Environment")])
    scenes.write_text(world.model_dump_json(), encoding="utf-8")
    done = talk(server.url, "--scenes", scenes)
    assert isinstance(done.exception, ValueError)
    assert "no character in the cast of this scene of 'The Storm'" in str(done.exception)


def test_a_missing_server_is_reported_immediately(home: Path) -> None:
    with serving() as server:
        gone = server.url
    done = talk(gone, lines="Good day.\n")
    assert isinstance(done.exception, ValueError)
    assert "No server answers" in str(done.exception)
    assert logs(home) == []


def test_help_is_readable() -> None:
    done = talk("--help")
    assert done.exit_code == 0
    for words in ("Scene and roles", "Model and sampling", "What is shown", "Log", "[default: 1024]"):
        assert words in done.output
    assert "[dim]" not in done.output
    assert "\\" not in done.output


def test_the_example_of_the_help_names_a_character_of_its_scene() -> None:
    scene, character = re.search(r'her-sft --scene (\w+) --character "(.*?)"', str(chat.__doc__)).groups()  # type: ignore[union-attr]
    mini = load_scenes(ROOT / "dataset_cards" / "her-mini")
    chosen = chat_setup.choose_scene(mini, scene, Console(), ask=False)
    assert character in chat_setup.playable(chosen)


def test_an_unwritable_state_folder_is_reported_immediately(server: StandIn, home: Path) -> None:
    (home / "state").write_text("no folder", encoding="utf-8")
    done = talk(server.url, lines="Good day.\n")
    assert isinstance(done.exception, OSError)
    assert str(done.exception).endswith("Name a file for it with --log.")
    assert server.chats == []
    assert talk(server.url, "--log", home / "log.jsonl", lines="Good day.\n").exit_code == 0


@pytest.mark.parametrize(
    ("answer", "name"),
    [("", "Jane Bennet"), ("2", "Mr Bell"), ("bell", "Mr Bell"), ("Bennet", "Bennet"), ("Orlok", "Orlok")],
)
def test_whom_the_visitor_plays(answer: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: answer)
    names = ["Jane Bennet", "Mr Bell", "Mrs Bennet"]
    assert chat_setup.choose_visitor(names, None, Console(), ask=True) == name


def test_a_scene_file_does_not_steer_the_terminal(
    server: StandIn, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steer = "\x1b]0;owned\x07\x9b2J\r"
    evil = Scene(
        book=f"Book{steer}",
        topic=f"tea{steer}",
        scenario=f"A parlour.{steer}",
        cast=[Character(name=f"Ann{steer}"), Character(name=f"Bell{steer}")],
    )
    scenes.write_text(f"{evil.model_dump_json()}\n" * 2, encoding="utf-8")
    where = ("--scenes", scenes)
    outputs = [
        talk(server.url, *where, "--list-scenes").output,
        talk(server.url, *where, lines="Good day.\n/history\n/scene\n/undo\n").output,
        *(str(talk(server.url, *where, *what).exception) for what in (["--scene", "tea"], ["--character", "Zorro"])),
    ]
    prompts: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt: prompts.append(prompt) or "2")  # type: ignore[func-returns-value]
    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    chosen = chat_setup.choose_scene([evil, evil], None, console, ask=True)
    name = chat_setup.choose_name(chat_setup.playable(chosen), None, console, ask=True, question="Who?")
    session = Session(chosen, name, ScriptedModel())
    with asyncio.Runner() as runner:
        for interactive in (True, False):
            Conversation(
                session, Screen(console, show_system=True, show_role=True), runner, interactive=interactive
            )._read()
    outputs += [console.export_text(), *prompts]
    console.file.close()
    assert len(outputs) == 9
    for output in outputs:
        assert "Ann" in output or "Book" in output or "?" in output
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", output), output


# -- what is wrong elsewhere on the command line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["base", "OUT", "--base", "/nonexist"], "There is no folder /nonexist here"),
        (["base", "OUT", "--base", "nobody/nothing"], "looking for it on the Hugging Face Hub"),
        (["chat", "nobody/nothing"], "looking for it on the Hugging Face Hub"),
        (["chat", "MODEL", "--device", "bogus"], "cannot use the device 'bogus'"),
    ],
)
def test_an_error_is_a_line(
    args: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"OUT": str(tmp_path / "out"), "MODEL": str(tmp_path)}
    monkeypatch.setattr(sys, "argv", ["her-hf", *(places.get(arg, arg) for arg in args)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    said = "".join(capsys.readouterr())
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_one_line_that_says_what_to_install() -> None:
    code = f"""
import sys
sys.modules["torch"] = None
sys.argv = ["her-hf", "chat", {str(ROOT / "tests")!r}]
from her_hf.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "this command needs torch" in done.stderr and "pip install 'her_hf[train]'" in done.stderr


def test_the_benchmark_looks_for_its_data_before_it_writes_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = pytest.importorskip("recipes.benchmarks.one_pass", reason="needs torch: pip install -e '.[train]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["one_pass.py", "--source", "/nonexist", "--tokens-only"])
    with pytest.raises(SystemExit) as left:
        benchmark.main()
    assert left.value.code == 2
    assert "/nonexist: is neither a file or folder here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# -- in process


def test_a_chat_with_a_model_folder(tmp_path: Path, scenes: Path) -> None:
    from tests.inference.test_interface import tiny_checkpoint

    folder = tiny_checkpoint(tmp_path / "tiny", "smollm2")
    done = talk(folder, "--scenes", scenes, "--max-tokens", 8, "--seed", 1, lines="Good day.\n/prompt\n")
    assert done.exit_code == 1, done.output  # eight tokens of noise are no turn
    assert "does not have the HER chat template" in done.output.replace("\n", "")
    assert "Mr. Bell: Good day.<|im_end|>\n<|im_start|>assistant\n<system_thinking>\n" in done.output
    assert "exactly as the model receives it" in done.output
    assert "still in system thinking" in done.output.replace("\n", " ")


# -- the screen


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_words_wrap_however_they_arrive(size: int) -> None:
    console = Console(width=20, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    flow = Flow(console)
    text = "one two three four five six 你好世界你好世界你好 \x1b[31mred\x07 end"
    for at in range(0, len(text), size):
        flow.feed(text[at : at + size], "bold", "  ")
    flow.end()
    shown = console.export_text()
    assert shown == "  one two three four\n  five six 你好世界\n  你好世界你好\n  [31mred end\n"
    console.file.close()


def test_a_misplaced_block_is_hidden_too() -> None:
    console = Console(width=60, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    Screen(console, show_system=False, show_role=True).turn(
        parse_turn("Ann: Well <system_thinking>plot</system_thinking> then")
    )
    assert console.export_text() == "Ann\n  Well then\n"
    console.file.close()


# -- a person at a terminal


def test_leaving_an_edit_leaves_only_the_edit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(["Good day.", "/edit 1", EOFError(), "/edit 1", KeyboardInterrupt(), "/edit 1", "(waves)", "/quit"])

    def typed(_: str) -> str:
        key = next(keys)
        if isinstance(key, BaseException):
            raise key
        return key

    monkeypatch.setattr("builtins.input", typed)
    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    session = Session(small_scene(), "Ann", ScriptedModel(FULL))
    with asyncio.Runner() as runner:
        talk = Conversation(session, Screen(console, show_system=False, show_role=True), runner, interactive=True)
        talk.run()
    assert next(keys, None) is None
    assert console.export_text().count("turn 1 was not changed") == 2
    assert not talk.failed
    assert [turn.render(view="others") for turn in session.turns] == [
        "Mr. Bell: <role_action>waves</role_action>",
        parse_turn(FULL).render(view="others"),
    ]
    console.file.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_ctrl_c_stops_the_reply_and_not_the_program(home: Path, scenes: Path) -> None:
    import pty

    with serving(pause=0.1) as server:
        code = "import typer; from her_hf.cli.chat import chat; typer.run(chat)"
        args = [sys.executable, "-c", code, server.url, "--scenes", str(scenes), "--character", "Ann", "--show-system"]
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in a shell's background
            os.execv(sys.executable, args)
        seen = ""
        decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character

        def until(words: str) -> None:
            """Waits for words on the screen; only vain waits count, so a machine that sleeps fails nothing."""
            nonlocal seen
            vain = 0
            while words not in _COLOURS.sub("", seen):
                if not select.select([terminal], [], [], 0.1)[0]:
                    vain += 1
                    assert vain < 600, f"no {words!r} in {seen!r}"
                    continue
                try:
                    seen += decoder.decode(os.read(terminal, 4096))
                except OSError as error:
                    raise AssertionError(f"ended before {words!r}: {seen!r}") from error

        try:
            until("Which scene?")
            os.write(terminal, b"parlour\n")
            until("Which role do you play?")
            os.write(terminal, b"\n")
            until("Mr. Bell ›")
            os.write(terminal, b"Good day.\n")
            until("stalls")
            os.write(terminal, b"\x03")
            until("stopped, not in the conversation: /continue goes on")
            assert server.closed_early.wait(20)
            seen = ""
            os.write(terminal, b"/history\n")
            until("Good day.")
            # A line and not Ctrl-D: that is lost if it comes while the terminal changes from one mode to the other.
            os.write(terminal, b"/quit\n")
            ended = status = 0
            for _ in range(600):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    break
                time.sleep(0.1)
            assert ended, f"still running: {seen!r}"
            pid = 0
            assert os.waitstatus_to_exitcode(status) == 0
        finally:
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.close(terminal)
    assert [record["kind"] for record in records(logs(home)[0])] == ["session", "turn", "stopped"]
