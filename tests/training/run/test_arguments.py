"""The command line of a recipe as a person reads it, and what it refuses."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from trl import SFTConfig

from her_hf.judging.pairwise.judge import FORMS
from her_hf.training.reward_model.config import Form
from her_hf.training.reward_model.rl import run_rm_rl
from her_hf.training.reward_model.sft import run_rm_sft
from her_hf.training.run.arguments import RecipeParser
from her_hf.training.run.launch import settings_of
from her_hf.training.sft import run_sft

RUNS = pytest.mark.parametrize("run", [run_sft, run_rm_sft, run_rm_rl])


@dataclass
class Speed:
    place: str = field(metadata={"help": "Where."})
    steps: int | None = field(default=None, metadata={"help": "How many."})
    kind: Literal["slow", "fast"] = field(default="slow", metadata={"help": "Which."})
    warm: bool = field(default=True, metadata={"help": "Warm up first."})


def sections(text: str) -> list[str]:
    return re.findall(r"^(\S.*):$", text, re.MULTILINE)


@RUNS
def test_own_settings_come_first_and_the_config_before_them(run: Any) -> None:
    text = RecipeParser(settings_of(run)).format_help()
    found = sections(text)
    own = [name for name in found if name.endswith("(her_hf)")]
    assert found[0] == "options" and found[1 : 1 + len(own)] == own and own
    assert found[-1].endswith(("(transformers)", "(trl)"))
    assert "--config FILE" in text.split(found[1])[0] and "--config FILE" in text.split("\n\n")[0]
    assert len(text.split("\n\n")[0]) < 200  # argparse's own usage names every option


def test_an_option_that_only_has_another_default_here_stays_with_its_library() -> None:
    text = RecipeParser(settings_of(run_sft)).format_help()
    own = text.split("OnePassConfig (her_hf):")[1].split("ModelConfig (trl):")[0]
    assert "--replies_per_step" in own and "Do not set" not in own


@RUNS
def test_a_negation_does_not_repeat_the_help(run: Any) -> None:
    text = " ".join(RecipeParser(settings_of(run)).format_help().split())
    negated = re.findall(r"--no_(\w+), --no-[\w-]+ (Same as --\w+ false\.)", text)
    assert len(negated) == len(re.findall(r"--no_\w+,", text)) > 0
    assert all(said == f"Same as --{name} false." for name, said in negated)


def test_values_have_names_and_required_ones_are_marked() -> None:
    text = " ".join(RecipeParser([Speed]).format_help().split())
    assert "--place TEXT Where. Required. --steps N How many. (default: None)" in text
    assert "--kind slow|fast Which." in text and "--warm [true|false] Warm up first." in text


@pytest.mark.parametrize("words", [["--no_warm"], ["--warm", "false"], ["--warm=no"]])
def test_a_negation_works(words: list[str]) -> None:
    assert RecipeParser([Speed]).parse_args_and_config(["--place", "x", *words])[0].warm is False


@pytest.mark.parametrize("given", [["--config", "{}"], ["--config={}"]])
def test_the_command_line_takes_precedence(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("place: here\nsteps: 3\nwarm: false\n")
    words = [word.format(tmp_path / "own.yaml") for word in given]
    (found,) = RecipeParser([Speed]).parse_args_and_config([*words, "--steps", "5"])
    assert found == Speed("here", 5, "slow", False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--place", "x", "--kind", "quick"], "choose from 'slow', 'fast'"),
        (["--config"], "--config: expected one FILE"),
        (["--config", "a.yaml", "--config=b.yaml"], "--config: expected one FILE"),
        (["--steps", "3"], "the following arguments are required: --place"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        RecipeParser([Speed]).parse_args_and_config(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and said in error and len(error.splitlines()) == 2


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (run_sft, ["--loss_head", "quick"]),
        (run_rm_sft, ["--form", "long"]),
        (run_rm_rl, ["--form", "long"]),
    ],
)
def test_a_wrong_choice_is_refused_with_the_choices(
    run: Any, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        RecipeParser(settings_of(run)).parse_args_and_config(words)
    assert "invalid choice" in capsys.readouterr().err


def test_the_forms_are_those_of_the_judge() -> None:
    assert get_args(Form) == FORMS


def test_inherited_settings_are_all_there() -> None:
    """Grouping loses none of TRL's."""
    parser = RecipeParser([SFTConfig])
    names = {name for group in parser.sections.values() for name in re.findall(r"--(\w+)", _help(group, parser))}
    assert {name for name, one in SFTConfig.__dataclass_fields__.items() if one.init} <= names


def _help(group: Any, parser: argparse.ArgumentParser) -> str:
    return parser.format_help().split(f"{group.title}:")[1]
