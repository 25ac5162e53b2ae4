"""Options come from settings: one place for each default and help, and one name for each meaning in all commands."""

from __future__ import annotations

import ast
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
from her_hf.cli.command import joined
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
    assert len(ALL) >= 13 and {words.split()[1] for words in ALL} == set(COMMANDS)


def help_of(words: str, columns: int = 80) -> str:
    """`--help` of a command as a terminal of that width shows it."""
    said = CliRunner().invoke(app, [*words.split()[1:], "--help"], env={"COLUMNS": str(columns)})
    assert said.exit_code == 0, said.output
    return said.output


EVERY = pytest.mark.parametrize("words", ALL)


@EVERY
def test_help_shows_each_option_whole_and_each_value_by_a_name(words: str) -> None:
    shown = help_of(words)
    assert "<" not in shown.replace("<=", "").replace("<x", "")  # the types of typer: <int range>
    names = set(re.findall(r"^│ [ *]{0,3}(--[a-z-]+)", shown, re.MULTILINE))
    options = [one for one in ALL[words].get_params(typer.Context(ALL[words])) if isinstance(one, TyperOption)]
    assert names == {next(name for name in one.opts if name.startswith("--")) for one in options}
    values = {one.opts[0]: one.metavar for one in options}
    assert all(re.fullmatch(r"[A-Z_/|,=…]+|[a-z0-9_.|-]+", str(value)) or value == "" for value in values.values()), (
        values
    )


@EVERY
def test_help_has_no_line_breaks_of_the_source(words: str) -> None:
    paragraphs = str(ALL[words].help).split("\n\n")
    assert all(line.endswith("\\") for one in paragraphs for line in one.split("\n")[:-1]), paragraphs


def test_line_breaks_of_commands_are_kept() -> None:
    text = "First\nparagraph.\n\nSecond\n  one.\n\nher-hf eval \\\n    --out DIR"
    assert joined(text) == "First paragraph.\n\nSecond one.\n\nher-hf eval \\\n    --out DIR"


@EVERY
def test_a_flag_that_is_on_says_what_its_negation_does(words: str) -> None:
    on = [one for one in ALL[words].params if isinstance(one, TyperOption) and one.is_flag and one.default is True]
    silent = [one.opts[0] for one in on if one.secondary_opts and one.secondary_opts[0] not in str(one.help)]
    # --show-role of a chat has a name for its negation, which help shows.
    assert silent == (["--show-role"] if words == "her-hf chat" else [])
    assert words != "her-hf chat" or "--hide-role" in help_of(words)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("her-hf eval coser", ["--scenes", "s", "--out", "o", "--simulate-only"]),
        ("her-hf eval coser", ["--scenes", "s", "--out", "o", "--judge-only"]),
        ("her-hf eval minimax run", ["--out", "o", "--simulate-only"]),
        ("her-hf eval minimax run", ["--out", "o", "--judge-only"]),
        ("her-hf eval form", ["--out", "o"]),
        ("her-hf eval form", ["--out", "o", "--model", "m"]),
    ],
)
def test_an_option_that_is_required_at_times_says_so(
    words: str, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = str(CliRunner().invoke(app, [*words.split()[1:], *given]).exception)
    missed = set(re.findall(r"--[a-z-]+", error.split(" must be given; or ")[0])) - set(given)
    assert missed, error
    for name in missed:
        found = option(ALL[words], name.removeprefix("--"))
        assert found is not None and "Required unless --" in str(found.help), name


def test_help_of_minimax_lists_its_commands_and_the_options_of_the_default_one() -> None:
    shown = help_of("her-hf eval minimax")
    for words in ("│ run ", "│ calibrate ", "--npc ", "--judge-chunk "):
        assert words in shown, words


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(["evl"], "eval"), (["eval", "cosr"], "coser"), (["eval", "minimax", "calibrat"], "calibrate")],
)
def test_a_mistyped_command_gets_the_nearest_one(words: list[str], nearest: str) -> None:
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert f"No such command '{words[-1]}'. Did you mean '{nearest}'?" in said.output


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


def test_an_option_is_called_like_its_setting() -> None:
    """So that the option, the key of a YAML file and the key in results.json are one word; a prefix may precede it."""
    named = {
        (file.name, field.target.id, ast.literal_eval(keyword.value))
        for file in (ROOT / "her_hf").rglob("*.py")
        for field in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(field.value, ast.Call)
        for keyword in field.value.keywords
        if keyword.arg == "option"
    }
    assert len(named) > 2
    assert {one for one in named if "{prefix}" not in one[2] and one[2] != one[1]} == set()


def test_an_argument_of_one_meaning_has_one_name() -> None:
    names: dict[str, set[str]] = {}
    for command in ALL.values():
        for one in command.get_params(typer.Context(command)):
            if not isinstance(one, TyperOption):
                names.setdefault(str(one.help), set()).add(str(one.metavar))
    assert len(names) > 10
    assert {told: found for told, found in names.items() if len(found) > 1} == {}


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
