"""How a pairwise judge is asked: the options that `her-hf judge` and `her-hf eval reward` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from her_hf.judging import PairwiseJudge

_ASK = "Asking the judge"

ModelOption = Annotated[
    str, typer.Option(metavar="MODEL", help="The judge: a URL (several by commas), a folder or a Hub id.")
]
ModelNameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_ASK)
]
PairsOption = Annotated[
    str, typer.Option(metavar="FILE", help="JSONL file of pairs, or a preference set (folder, Hub id).")
]
SplitOption = Annotated[str | None, typer.Option(help="Split of a preference set; else test.")]
LimitOption = Annotated[int | None, typer.Option(help="Only the first so many pairs.", min=1)]
FormOption = Annotated[
    Literal["published", "compact"] | None,
    typer.Option(
        help="Form of prompt and answer; else what the checkpoint notes, else published.", rich_help_panel=_ASK
    ),
]
PrinciplesOption = Annotated[
    Literal["by-case", "fixed"],
    typer.Option(help="by-case: the judge finds its own; fixed: the library is given.", rich_help_panel=_ASK),
]
ComparisonOption = Annotated[
    Literal["pairwise", "pointwise"],
    typer.Option(help="Both replies together, or each rated by itself.", rich_help_panel=_ASK),
]
ReasoningOption = Annotated[
    bool | None,
    typer.Option(
        "--reasoning/--no-reasoning",
        help="Think first, or answer at once; else what the checkpoint notes, else think.",
        rich_help_panel=_ASK,
    ),
]
ReadOption = Annotated[
    Literal["text", "probability"],
    typer.Option(
        help="The answer it writes, or how likely it finds each verdict without thinking (a model in this process).",
        rich_help_panel=_ASK,
    ),
]
OneOrderOption = Annotated[
    bool, typer.Option("--one-order", help="Judge each pair once, as it stands.", rich_help_panel=_ASK)
]
AttemptsOption = Annotated[
    int, typer.Option(help="How often an answer is asked for until it can be read.", min=1, rich_help_panel=_ASK)
]
MaxTokensOption = Annotated[
    int | None, typer.Option(help="Most tokens of an answer; else 4096, compact 192.", min=1, rich_help_panel=_ASK)
]
TemperatureOption = Annotated[float, typer.Option(help="Of the first attempt.", min=0, rich_help_panel=_ASK)]
ConcurrencyOption = Annotated[int, typer.Option(help="Most calls at once.", min=1, rich_help_panel=_ASK)]
TimeoutOption = Annotated[
    float, typer.Option(help="Seconds that one call to a server may take in all.", min=1, rich_help_panel=_ASK)
]
RetriesOption = Annotated[
    int, typer.Option(help="How often a call that failed is made again.", min=0, rich_help_panel=_ASK)
]
SeedOption = Annotated[int, typer.Option(help="Every call's own seed comes from this.", rich_help_panel=_ASK)]
MaxMissingOption = Annotated[
    float, typer.Option(help="Exit with 3 if a larger share of verdicts is missing.", min=0, max=1)
]


def open_judge(
    model: str,
    ledger: Any,
    *,
    model_name: str | None,
    concurrency: int,
    timeout: float,
    retries: int,
    principles: str,
    one_order: bool,
    read: str,
    form: str | None,
    reasoning: bool | None,
    **settings: Any,
) -> PairwiseJudge:
    """The judge that the options describe.

    Raises:
        `ValueError`: If settings exclude each other, or the model cannot be opened.
        `FileNotFoundError`: If a folder or Hub id is not there.
    """
    from her_hf.inference import Retries
    from her_hf.inference.open import open_caller
    from her_hf.judging import PairwiseJudge
    from her_hf.judging.pairwise.reward_model import trained_settings

    if read == "probability":  # of the compact answer without thinking; there is no other
        form, reasoning = form or "compact", False
    asked = trained_settings(
        model,
        principles=principles.replace("-", "_"),
        both_orders=not one_order,
        read=read,
        form=form,
        reasoning=reasoning,
        **settings,
    )
    calls = {"concurrency": concurrency, "timeout": timeout, "retries": Retries(most=retries)}
    caller = open_caller(model, model=model_name, ledger=ledger, attach=False, **calls)  # type: ignore[arg-type]
    return PairwiseJudge(caller, asked)


def exit_if_missing(share: float, max_missing: float, why: str) -> None:
    """Exits with 3 if a larger share is missing than allowed."""
    if share > max_missing:
        typer.secho(
            f"{share:.1%} of the verdicts are missing, more than --max-missing allows ({max_missing:.1%}); {why}",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(3)
