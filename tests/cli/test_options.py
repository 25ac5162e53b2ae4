"""Options come from settings: one place for each default and help, and one name for each meaning in all commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.core import TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

import her_hf
from her_hf.cli import eval_commands
from her_hf.cli.main import COMMANDS, app
from her_hf.cli.options import Calls, Group, ModelReference, Output, Seed, with_options
from her_hf.settings import setting
from tests.support.paths import ROOT


@dataclass(frozen=True)
class Drawing:
    style: str = setting(choices=("plain", "her"), help="How.")
    temperature: float = setting(0.5, help="Of the draw.", min=0)
    seed: int = setting(42, help="Seed of all sampling and drawing; every call derives its own from it.")


def invoked(command: Any, *words: str) -> tuple[list[Any], Any]:
    """What the command was called with, and the result."""
    got: list[Any] = []

    def kept(**given: Any) -> None:
        got.append(command(**given))

    kept.__signature__ = command.__signature__  # type: ignore[attr-defined]
    kept.__annotations__ = command.__annotations__
    single = typer.Typer(add_completion=False)
    single.command()(kept)
    return got, CliRunner().invoke(single, list(words))


@dataclass(frozen=True)
class Other:
    seed: int = setting(7, help="Another seed.")


@with_options
def draw(
    model: Annotated[ModelReference, Group("Models", "actor", required=("model",))],
    drawing: Annotated[Drawing, Group("Drawing", "draw", optional=("style",))],
    seed: Annotated[Seed, Group()],
    extra: int = 1,
) -> tuple[Any, ...]:
    return model, drawing, seed, extra


def test_a_field_is_an_option_and_the_command_gets_the_settings() -> None:
    got, said = invoked(draw, "--actor", "m", "--draw-style", "her", "--draw-temperature", "0", "--extra", "2")
    assert said.exit_code == 0, said.output
    assert got == [(ModelReference("m"), Drawing("her", 0.0), Seed(), 2)]


def test_a_group_without_its_optional_field_is_not_made() -> None:
    got, _ = invoked(draw, "--actor", "m", "--actor-name", "n")
    assert got == [(ModelReference("m", "n"), None, Seed(), 1)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing option '--actor'"),
        (("--actor", "m", "--draw-style", "loud"), "'loud' is not one of"),
        (("--actor", "m", "--draw-temperature", "-1"), "should be greater than or equal to 0"),
    ],
)
def test_a_value_out_of_bounds_names_the_option(words: tuple[str, ...], message: str) -> None:
    got, said = invoked(draw, *words)
    assert said.exit_code == 2 and not got
    assert message in " ".join(said.output.replace("│", " ").split())


def test_an_option_of_two_groups_is_given_to_both() -> None:
    @with_options
    def both(one: Annotated[Seed, Group()], other: Annotated[Drawing, Group(without=("style",))]) -> None: ...

    assert [name for name in both.__annotations__ if name == "seed"] == ["seed"]


def test_options_of_one_name_that_differ_are_refused() -> None:
    with pytest.raises(TypeError, match="--seed that differs"):

        @with_options
        def both(one: Annotated[Seed, Group()], other: Annotated[Other, Group()]) -> None: ...


def test_no_resume_refuses_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    Output(tmp_path, resume=False).refuse_a_run()
    (tmp_path / "run.json").write_text("{}")
    Output(tmp_path).refuse_a_run()
    with pytest.raises(FileExistsError, match="already has a run"):
        Output(tmp_path, resume=False).refuse_a_run()


def test_too_much_missing_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Output(tmp_path).exit_if_missing({"missing": {"share": 0.1, "unit": "judgement"}})
    with pytest.raises(typer.Exit) as raised:
        Output(tmp_path).exit_if_missing({"missing": {"share": 0.25, "unit": "judgement"}})
    assert raised.value.exit_code == 3
    assert "25.0% of the judgements are missing, more than --max-missing allows (10.0%)" in capsys.readouterr().err


# -- all commands


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below one, with its words."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    context = typer.Context(command)
    for own in command.list_commands(context):
        found = command.get_command(context, own)
        assert found is not None
        yield from leaves(found, f"{name} {own}")


ALL = dict(leaves(get_command(app), "her-hf"))


def option(command: Any, name: str) -> TyperOption | None:
    found = [one for one in command.params if isinstance(one, TyperOption) and f"--{name}" in one.opts]
    return found[0] if found else None


def test_every_command_is_there() -> None:
    assert len(ALL) >= 13 and {f"her-hf {name}" for name in COMMANDS if name not in ("eval", "leaderboard")} <= set(
        ALL
    )


@pytest.mark.parametrize("name", ["concurrency", "timeout", "retries", "max-missing", "resume", "seed"])
def test_whatever_calls_models_in_a_run_has_the_shared_options(name: str) -> None:
    runs = [words for words in ALL if words.split()[1] in ("judge", "pairs") or "eval" in words]
    runs = [words for words in runs if words.split()[-1] not in ("compare", "show", "card")]
    assert len(runs) == 7
    without = [words for words in runs if option(ALL[words], name) is None]
    assert not without
    assert (
        len({(str(one.type_descriptor.annotation), one.help) for words in runs if (one := option(ALL[words], name))})
        == 1
    )


def kind_of(annotation: Any) -> str:
    """`list[str]`, a choice and `str` are all text."""
    text = str(annotation)
    return "str" if "str" in text or "Literal" in text else text


def test_an_option_has_one_meaning() -> None:
    """Options of one name are of one type wherever they stand."""
    kinds: dict[str, set[str]] = {}
    for command in ALL.values():
        for one in command.params:
            if isinstance(one, TyperOption):
                kinds.setdefault(one.opts[0], set()).add(kind_of(one.type_descriptor.annotation))
    assert len(kinds) > 80
    assert not {name: kind for name, kind in kinds.items() if len(kind) > 1}


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for group, words in (
        (get_command(app), "her-hf"),
        (get_command(eval_commands.app), "her-hf eval"),
    ):
        assert isinstance(group, TyperGroup)
        listed = group.commands_at  # type: ignore[attr-defined]
        for name, (_, line) in listed.items():
            if f"{words} {name}" in ALL:
                own = (ALL[f"{words} {name}"].help or "").split("\n\n")[0].replace("\n", " ").strip()
                assert own == line, name


def test_defaults_of_calls_are_stated_once() -> None:
    """In her_hf/settings.py; a signature or a setting that repeats the number would go its own way one day."""
    repeats = re.compile(r"^ *(concurrency|timeout|(max_)?retries)\b[^=\n]*= (setting\()?\d.*$", re.MULTILINE)
    assert repeats.search("    concurrency: int = 16,\n") and repeats.search("timeout: float = setting(300.0, help=")
    found = {file.name: repeats.search(file.read_text(encoding="utf-8")) for file in (ROOT / "her_hf").rglob("*.py")}
    assert {name: match[0] for name, match in found.items() if match} == {}


def test_chat_says_what_the_shared_options_say() -> None:
    chat, judge, coser = (ALL[f"her-hf {name}"] for name in ("chat", "judge", "eval coser"))
    for name, other in (("timeout", judge), ("model-name", judge), ("scenes", coser), ("top-p", coser)):
        one, same = option(chat, name), option(other, name)
        assert one is not None and same is not None
        assert (one.help or "").partition(" [dim]")[0] == same.help, name


def test_calls_are_what_the_options_say() -> None:
    assert Calls(concurrency=2).concurrency == 2


def test_the_version_is_printed() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"her_hf {her_hf.__version__}\n")
