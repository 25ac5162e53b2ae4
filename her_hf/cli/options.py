"""Options made from settings: each field of a settings class is one option, whichever command takes it.

The groups that commands share stand here too, and `--config FILE` (YAML; the command line wins).
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


@dataclass(frozen=True)
class Group:
    """How the fields of a settings class stand among the options of a command.

    Args:
        panel (`str`, *optional*): The panel of `--help`.
        prefix (`str`, *optional*): What the options' names begin with: `judge` makes `--judge-samples` of `samples`.
        without (`tuple[str, ...]`, *optional*): Fields that are no option here; they keep their defaults.
        required (`tuple[str, ...]`, *optional*): Fields that must be given here, whatever their default.
        optional (`tuple[str, ...]`, *optional*): Fields without a default that need not be given here; the command
            gets `None` for the group if one is not.
        help (`Mapping[str, str]`, *optional*): Texts that are more exact here than the field's own.
        metavar (`Mapping[str, str]`, *optional*): Names of values that are more exact here.
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
    """Which scenes a run uses.

    Args:
        scenes (`str`): A file, a folder or a Hub dataset.
        split (`str`, *optional*): Split of the source.
        limit (`int`, *optional*): Only the first scenes.
    """

    scenes: str = setting(help="Scenes: a file, a folder or a Hub dataset.", metavar="SOURCE")
    split: str | None = setting(None, help="Split of the scenes' source.")
    limit: int | None = setting(None, help="Use only the first N scenes.", min=1, metavar="N")


@dataclass(frozen=True)
class ModelReference:
    """A model as the command line names it.

    Args:
        model (`str`, *optional*): A URL, several URLs of one model separated by commas, a folder or a Hub id.
        name (`str`, *optional*): Its name on the server.
    """

    model: str | None = setting(
        None, help="A URL (several, separated by commas), a folder or a Hub id.", metavar="MODEL", option="{prefix}"
    )
    name: str | None = setting(None, help="Its name on the server.", metavar="NAME", option="{prefix}-name")


@dataclass(frozen=True)
class Calls:
    """How models are called.

    Args:
        concurrency (`int`, *optional*, defaults to 16): Calls in flight to each model at a time.
        timeout (`float`, *optional*, defaults to 300): Seconds that one call to a server may take in all.
        retries (`int`, *optional*, defaults to 6): How many times a failed call is repeated.
    """

    concurrency: int = setting(CONCURRENCY, help="Concurrent calls to each model.", min=1)
    timeout: float = setting(
        TIMEOUT, help="Time limit of one call to a server in seconds, retries not included.", min=1
    )
    retries: int = setting(MAX_RETRIES, help="How many times a failed call is repeated.", min=0)

    def opener(self, ledger: Ledger) -> Callable[..., Caller]:
        """See [`~her_hf.inference.open.opener`]."""
        from her_hf.inference import Retries
        from her_hf.inference.open import opener

        retries = Retries(max_retries=self.retries)
        return opener(ledger, concurrency=self.concurrency, timeout=self.timeout, retries=retries)


@dataclass(frozen=True)
class Output:
    """Where a run keeps its files, and when it counts as failed.

    Args:
        out (`Path`): Output folder; the same command resumes there.
        resume (`bool`, *optional*, defaults to `True`): Whether a folder that holds a run is resumed or refused.
        max_missing (`float`, *optional*, defaults to 0.1): Largest share of missing results with exit code 0.
    """

    out: Path = setting(help="Output folder; the same command resumes there.", metavar="DIR")
    resume: bool = setting(True, help="Resume a run that the output holds; otherwise it is refused.")
    max_missing: float = setting(0.1, help="Exit with 3 if a larger share of the results is missing.", min=0, max=1)

    def refuse_a_run(self) -> None:
        """With `--no-resume`, an output that holds a run is refused; nothing is ever deleted.

        Raises:
            `FileExistsError`: If there is one.
        """
        if not self.resume and ((self.out / RUN_FILE).exists() or self.out.is_file()):
            raise FileExistsError(f"{self.out} holds a run already: choose another, or drop --no-resume to resume it.")

    def exit_if_missing(self, results: Mapping[str, Any], where: str = "the report says why") -> None:
        """Exits with code 3 if more than `--max-missing` is missing.

        Args:
            results (`Mapping`): Anything with the envelope's `missing` ([`~her_hf.runs.envelope`]): `share`, and the
                `unit` that is counted.
            where (`str`, *optional*): Where the causes are listed.
        """
        missing = results["missing"]
        if missing["share"] > self.max_missing:
            what = f"{missing['share']:.1%} of the {missing['unit']}s are missing"
            text = f"{what}, more than --max-missing allows ({self.max_missing:.1%}); {where}."
            typer.secho(text, err=True, fg=typer.colors.RED)
            raise typer.Exit(3)


@dataclass(frozen=True)
class Phases:
    """Which half of an evaluation runs.

    Args:
        simulate_only (`bool`, *optional*, defaults to `False`): Play, and do not judge.
        judge_only (`bool`, *optional*, defaults to `False`): Judge what the output folder holds.
    """

    simulate_only: bool = setting(False, help="Play, and do not judge.")
    judge_only: bool = setting(False, help="Judge the dialogues that DIR holds.")

    def check(self, *, plays: Mapping[str, object], judges: Mapping[str, object]) -> None:
        """Refuses what does not go together.

        Args:
            plays (`Mapping`): Options that playing needs, and their values.
            judges (`Mapping`): Options that judging needs, and their values.

        Raises:
            `ValueError`: Names the options that are missing or exclude each other.
        """
        if self.simulate_only and self.judge_only:
            raise ValueError("--simulate-only and --judge-only exclude each other")
        for skipped, needed, other in (
            (self.judge_only, plays, "judge dialogues that were played before: --judge-only"),
            (self.simulate_only, judges, "only play: --simulate-only"),
        ):
            missing = [option for option, value in needed.items() if not value]
            if missing and not skipped:
                raise ValueError(f"{' and '.join(missing)} must be given; or {other}")


@dataclass(frozen=True)
class Seed:
    """Where the randomness of a run comes from.

    Args:
        seed (`int`, *optional*, defaults to 42): Every call derives its own seed from this.
    """

    seed: int = setting(42, help="Every call derives its own seed from this.")


def help_of(kind: type, name: str) -> str:
    """What a field of a settings class says of itself, for a command with an option of its own of that meaning."""
    (found,) = (str(one.metadata["help"]) for one in fields(kind) if one.name == name)
    return found


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command one option a field for each parameter annotated `Annotated[SettingsClass, Group(...)]`.

    The command gets instances of these classes. Options of one name in several groups are one option that all of them
    get (as `--seed`); a field of a group named in `without` keeps its default.

    Args:
        command (`Callable`): The function of a command. Its other parameters are typer's.

    Returns:
        `Callable`: What typer takes for the command.

    Raises:
        `TypeError`: If two groups have an option of one name but of another type or default.

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
    """The settings of one group from the values of all options."""
    values = {own: given[option] for own, option in named.items()}
    return None if any(values[own] is None for own in group.optional) else kind(**values)


def _group(annotation: Any) -> tuple[type, Group] | None:
    """The settings class and its group, if the annotation is of that kind."""
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
    option = typer.Option(
        *words,
        help=group.help.get(one.name, about["help"]),
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
    """Adds an option, or checks that the one of that name is the same."""
    known = options.setdefault(new.name, new)
    of = [(get_args(one.annotation)[0], one.default) for one in (known, new)]
    if of[0] != of[1]:
        raise TypeError(f"two groups have an option --{new.name} that differs: {of[0]} and {of[1]}")


def _load(context: typer.Context, file: Path | None) -> Path | None:
    """Makes the file's values the defaults of the other options."""
    if file is None:
        return None
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise typer.BadParameter(f"must hold options as keys, got {type(values).__name__}")
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
        help="YAML file with these options as keys; the command line wins.",
        callback=_load,
        is_eager=True,
    ),
]
