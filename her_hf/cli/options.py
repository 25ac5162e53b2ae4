"""Command-line options from settings classes: each field is one option, in every command.

Also the groups of options that commands share, and `--config FILE` (YAML; the command line takes precedence).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
import yaml

from her_hf.durable import RUN_FILE
from her_hf.settings import CONCURRENCY, MAX_RETRIES, TIMEOUT, setting

if TYPE_CHECKING:
    from her_hf.inference import Caller, Ledger


MODEL = "a URL (several, separated by commas), a folder or a Hub id."
"""What a model may be, in the help of every option that names one."""


@dataclass(frozen=True)
class Group:
    """How the fields of a settings class become options of a command.

    Args:
        panel (`str`, *optional*): The panel of `--help`.
        prefix (`str`, *optional*): Prefix of the options' names: `judge` makes `--judge-samples` of `samples`.
        without (`tuple[str, ...]`, *optional*): Fields without an option; they keep their defaults.
        required (`tuple[str, ...]`, *optional*): Fields that are required in this command, despite their defaults.
        optional (`tuple[str, ...]`, *optional*): Fields without a default that are optional in this command, which
            gets `None` for the group if one is not given.
        help (`Mapping[str, str]`, *optional*): Help texts that replace those of the fields.
        metavar (`Mapping[str, str]`, *optional*): Metavars that replace those of the fields.
    """

    panel: str | None = None
    prefix: str = ""
    without: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    help: Mapping[str, str] = field(default_factory=dict)
    metavar: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenes:
    """The scenes of a run.

    Args:
        scenes (`str`): A file, a folder or a Hub dataset.
        split (`str`, *optional*): Split of the source.
        limit (`int`, *optional*): Only the first scenes.
    """

    scenes: str = setting(help="Scenes: a file, a folder or a Hub dataset.", metavar="SOURCE")
    split: str | None = setting(None, help="Split of the scenes' source.", metavar="NAME")
    limit: int | None = setting(None, help="Use only the first N scenes.", min=1, metavar="N")


@dataclass(frozen=True)
class ModelReference:
    """A model reference of the command line.

    Args:
        model (`str`, *optional*): A URL, several URLs of one model separated by commas, a folder or a Hub id.
        name (`str`, *optional*): Its name on the server.
    """

    model: str | None = setting(None, help=MODEL[0].upper() + MODEL[1:], metavar="MODEL", option="{prefix}")
    name: str | None = setting(
        None, help="Its name on the server, if the server has several.", metavar="NAME", option="{prefix}-name"
    )


@dataclass(frozen=True)
class Calls:
    """Settings of calls to models.

    Args:
        concurrency (`int`, *optional*, defaults to 16): Calls in flight to each model.
        timeout (`float`, *optional*, defaults to 300): Time limit of one call to a server in seconds.
        retries (`int`, *optional*, defaults to 6): Maximum retries of a failed call.
    """

    concurrency: int = setting(CONCURRENCY, help="Concurrent calls to each model.", min=1)
    timeout: float = setting(
        TIMEOUT, help="Time limit of one call to a server, retries not included.", min=1, metavar="SECONDS"
    )
    retries: int = setting(MAX_RETRIES, help="Maximum retries of a failed call.", min=0)

    def opener(self, ledger: Ledger) -> Callable[..., Caller]:
        """See [`~her_hf.inference.open.opener`]."""
        from her_hf.inference import Retries
        from her_hf.inference.open import opener

        retries = Retries(max_retries=self.retries)
        return opener(ledger, concurrency=self.concurrency, timeout=self.timeout, retries=retries)


@dataclass(frozen=True)
class Output:
    """Output of a run, and the missing share at which it fails.

    Args:
        out (`Path`): Output folder; the same command resumes there.
        resume (`bool`, *optional*, defaults to `True`): Whether an existing run is resumed or an error.
        max_missing (`float`, *optional*, defaults to 0.1): Maximum share of missing results with exit code 0.
    """

    out: Path = setting(help="Output folder; the same command resumes there.", metavar="DIR")
    resume: bool = setting(True, help="Resume the run in --out.", off="an existing run is an error")
    max_missing: float = setting(
        0.1, help="Exit with code 3 if a larger share of the results is missing.", min=0, max=1
    )

    def refuse_a_run(self) -> None:
        """With `--no-resume`, raises an error if the output has a run; nothing is ever deleted.

        Raises:
            `FileExistsError`: If the output has a run.
        """
        if not self.resume and ((self.out / RUN_FILE).exists() or self.out.is_file()):
            raise FileExistsError(
                f"{self.out} already has a run: choose another output, or omit --no-resume to resume it."
            )

    def exit_if_missing(self, results: Mapping[str, Any], where: str = "see the report for the causes") -> None:
        """Exits with code 3 if more than `--max-missing` is missing.

        Args:
            results (`Mapping`): Any results with the envelope's `missing` ([`~her_hf.runs.envelope`]): `share` and
                `unit`.
            where (`str`, *optional*): Where to find the causes.
        """
        missing = results["missing"]
        if missing["share"] > self.max_missing:
            what = f"{missing['share']:.1%} of the {missing['unit']}s are missing"
            text = f"{what}, more than --max-missing allows ({self.max_missing:.1%}); {where}."
            typer.secho(text, err=True, fg=typer.colors.RED)
            raise typer.Exit(3)


@dataclass(frozen=True)
class Phases:
    """The phases of an evaluation to run.

    Args:
        simulate_only (`bool`, *optional*, defaults to `False`): Only play.
        judge_only (`bool`, *optional*, defaults to `False`): Only judge the dialogues in the output folder.
    """

    simulate_only: bool = setting(False, help="Play only, without judging.")
    judge_only: bool = setting(False, help="Judge the existing dialogues in DIR.")

    def check(self, *, plays: Mapping[str, object], judges: Mapping[str, object]) -> None:
        """Checks that the phases and options are consistent.

        Args:
            plays (`Mapping`): Options that playing requires, with their values.
            judges (`Mapping`): Options that judging requires, with their values.

        Raises:
            `ValueError`: Names the options that are missing or exclude each other.
        """
        if self.simulate_only and self.judge_only:
            raise ValueError("--simulate-only and --judge-only exclude each other")
        for skipped, needed, other in (
            (self.judge_only, plays, "judge existing dialogues with --judge-only"),
            (self.simulate_only, judges, "play only with --simulate-only"),
        ):
            missing = [option for option, value in needed.items() if not value]
            if missing and not skipped:
                raise ValueError(f"{' and '.join(missing)} must be given; or {other}")


@dataclass(frozen=True)
class Seed:
    """The seed of a run.

    Args:
        seed (`int`, *optional*, defaults to 42): Every call derives its own seed from this.
    """

    seed: int = setting(42, help="Seed of all sampling and drawing; every call derives its own from it.")


def help_of(kind: type, name: str) -> str:
    """What a field of a settings class says of itself, for a command with an option of its own of that meaning."""
    (found,) = (str(one.metadata["help"]) for one in fields(kind) if one.name == name)
    return found


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds options for the fields of each parameter annotated `Annotated[SettingsClass, Group(...)]`.

    The command gets instances of these classes. An option that several groups share (such as `--seed`) sets the field
    in all of them; a field named in `without` keeps its default.

    Args:
        command (`Callable`): The function of a command. Its other parameters are passed to typer as they are.

    Returns:
        `Callable`: The function to register with typer.

    Raises:
        `TypeError`: If two groups have an option of the same name with another type or default.

    Example:

    ```python
    >>> @with_options
    ... def play(seed: Annotated[Seed, Group("Sampling")]) -> int:
    ...     return seed.seed
    >>> play(seed=7)
    7
    ```
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[type, Group, dict[str, str]]] = {}
    plain: list[inspect.Parameter] = []
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        found = _group(hints[name])
        if found is None:
            plain.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        kind, group = found
        named = {one.name: _option_name(one, group) for one in fields(kind) if one.name not in group.without}
        groups[name] = kind, group, named
        for one in fields(kind):
            if one.name in named:
                _add(options, _parameter(kind, one, group, named[one.name]))

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        made = {name: _made(kind, group, named, given) for name, (kind, group, named) in groups.items()}
        return command(**made, **{one.name: given[one.name] for one in plain})

    every = sorted([*options.values(), *plain], key=lambda one: one.default is not inspect.Parameter.empty)
    called.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in every}
    return called


def _made(kind: type, group: Group, named: Mapping[str, str], given: Mapping[str, Any]) -> Any:
    """The settings of one group, from the values of all options."""
    values = {own: given[option] for own, option in named.items()}
    return None if any(values[own] is None for own in group.optional) else kind(**values)


def _group(annotation: Any) -> tuple[type, Group] | None:
    """The settings class and its group, if the annotation has both."""
    if get_origin(annotation) is Annotated:
        kind, *extra = get_args(annotation)
        for one in extra:
            if isinstance(one, Group):
                return kind, one
    return None


def _option_name(one: Field[Any], group: Group) -> str:
    pattern = one.metadata.get("option") or ("{prefix}-" + one.name if group.prefix else one.name)
    return pattern.format(prefix=group.prefix).replace("-", "_")


def _parameter(kind: type, one: Field[Any], group: Group, name: str) -> inspect.Parameter:
    """The parameter of a command for one field."""
    word = "--" + name.replace("_", "-")
    annotation = get_type_hints(kind)[one.name]
    if choices := one.metadata["choices"]:
        annotation = Literal[choices] if annotation is str else Literal[choices] | None
    words = (f"{word}/--no-{word[2:]}",) if annotation in (bool, bool | None) else (word,)
    about = one.metadata
    told = str(group.help.get(one.name, about["help"]))
    if about["off"]:
        told = f"{told.removesuffix('.')}; with --no-{word[2:]}, {about['off']}."
    option = typer.Option(
        *words,
        help=told,
        min=about["min"],
        max=about["max"],
        metavar=group.metavar.get(one.name, about["metavar"]),
        rich_help_panel=group.panel,
    )
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    if one.name in group.optional:
        annotation, default = annotation | None, None
    needed = default is MISSING or one.name in group.required
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else default,
        annotation=Annotated[annotation, option],
    )


def _add(options: dict[str, inspect.Parameter], new: inspect.Parameter) -> None:
    """Adds an option, or checks that it equals the existing one of that name."""
    known = options.setdefault(new.name, new)
    of = [(get_args(one.annotation)[0], one.default) for one in (known, new)]
    if of[0] != of[1]:
        raise TypeError(f"two groups have an option --{new.name} that differs: {of[0]} and {of[1]}")


def _load(context: typer.Context, file: Path | None) -> Path | None:
    """Sets the values of the file as defaults of the other options."""
    if file is None:
        return None
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise typer.BadParameter(f"must be a mapping with options as keys, got {type(values).__name__}")
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    named: dict[str, Any] = {str(key).replace("-", "_"): value for key, value in values.items()}
    unknown = sorted(named.keys() - known)
    if unknown:
        raise typer.BadParameter(f"has unknown keys: {unknown}; the options are {sorted(map(str, known))}")
    context.default_map = {**(context.default_map or {}), **named}
    return file


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="YAML file with these options as keys. The command line takes precedence; there, --no-… switches a flag "
        "of the file off.",
        callback=_load,
        is_eager=True,
    ),
]
