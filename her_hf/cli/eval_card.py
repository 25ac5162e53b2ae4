"""`her-hf eval card`: the figures of a finished run, in the card of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a finished evaluation.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the model, with its card (README.md).")],
    dataset: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Hub id of the data, if the run had them from a folder or file."),
    ] = None,
) -> None:
    """Write the figures of a run with their settings into the card of the model, as a section and for the Hub.

    For the Hub: model-index in the card, and .eval_results/ if the data have a Hub id. her-hf push sends both.

    her-hf eval card outputs/coser outputs/smollm2-135m-her-sft --dataset me/her-mini
    """
    from her_hf.evaluation.cards import write_figures, write_section
    from her_hf.evaluation.reward.report import write_reward_section
    from her_hf.hub.client import check_repo_id
    from her_hf.runs.results import read_results

    if dataset:
        check_repo_id(dataset)
    results = read_results(run)
    written = write_figures(folder, results, dataset)
    if results["evaluation"] == "reward":
        write_reward_section(folder, results)
    else:
        write_section(folder, results)
    typer.echo(f"Card: {', '.join(map(str, written))}")
    if len(written) == 1:
        typer.echo("Note: nothing was written to .eval_results, which needs the Hub id of the data: give --dataset")
