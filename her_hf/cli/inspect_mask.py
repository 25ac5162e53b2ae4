"""`her-hf inspect-mask`: which tokens of an example are trained, their layers, and what each branch attends to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from her_hf.processing.rows import RowReport
    from her_hf.processing.trunk import Row
    from her_hf.scenes import ChatSample, Scene

_STYLES = {
    "system_thinking": "black on magenta",
    "role_thinking": "black on cyan",
    "role_action": "black on yellow",
    "speech": "black on green",
    "structure": "black on bright_blue",
}
_CONTEXT = "dim"


def inspect_mask(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model or tokenizer: a folder or a Hub id. HER's template is attached if missing."
        ),
    ],
    scenes: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Scenes or conversations: a file, a folder or a Hub dataset.")
    ],
    example: Annotated[int, typer.Option(help="Number of the scene or conversation, counted from 0.")] = 0,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Split of the data.")] = None,
    character: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The character that the model plays; by default the first of the cast."),
    ] = None,
    max_context: Annotated[
        int | None,
        typer.Option(help="Maximum tokens of prompt and reply together, like max_context of a recipe."),
    ] = None,
    row_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens of a row, like row_tokens of a recipe.")
    ] = None,
    one_pass: Annotated[
        bool,
        typer.Option(help="One row per conversation, like one_pass of a recipe; with --no-one-pass, one per reply."),
    ] = True,
    system_thinking: Annotated[
        bool, typer.Option(help="Train system thinking; with --no-system-thinking, leave it out.")
    ] = True,
    trunk: Annotated[
        bool, typer.Option(help="Show the text of the trunk; with --no-trunk, only where branches leave it.")
    ] = True,
) -> None:
    """Show which tokens are trained and what each branch sees, in colour, or in ⟦brackets⟧ without a terminal."""
    from rich.console import Console
    from rich.text import Text

    from her_hf.processing.rows import build
    from her_hf.scenes import load_samples
    from her_hf.training.conversations import conversations
    from her_hf.training.run.tokenizers import her_tokenizer

    found = load_samples(scenes, split=split)
    if not 0 <= example < len(found):
        raise ValueError(
            f"--example must be from 0 to {len(found) - 1}, since {scenes} holds {len(found)} scenes or "
            f"conversations; got {example}"
        )
    sample = found[example]
    played, title = _played(sample, example, character)
    seen = [one for one in conversations([sample], system_thinking=system_thinking) if one.character == played]
    tokenizer = her_tokenizer(model)
    rows = build(
        seen[0].messages,
        tokenizer,
        max_context=max_context,
        row_tokens=row_tokens,
        one_pass=one_pass,
        names=seen[0].names,
    )
    console = Console(highlight=False, markup=False)  # a book's or a character's name may hold brackets
    colour = console.is_terminal and not console.no_color
    source = Path(scenes).name
    console.print(Text.assemble((source, "bold"), f", {title}", (played, "bold")))
    console.print(_legend(colour))
    for number, row in enumerate(rows):
        size = f": {len(row['input_ids'])} tokens, trunk {row['trunk_len']}"
        console.print(Text.assemble("\n", (f"Row {number}", "bold"), size))
        for text in describe(row, tokenizer, trunk=trunk, colour=colour):
            console.print(text)
    console.print(_summary(rows.report))


def _played(sample: Scene | ChatSample, example: int, character: str | None) -> tuple[str, str]:
    """The character played (`""` in chat data), and a title of the example."""
    from her_hf.scenes import Scene

    if not isinstance(sample, Scene):
        if character:
            raise ValueError(
                f"--character is for scenes, but --example {example} is a conversation of chat data: leave it out"
            )
        return "", f"conversation {example}"
    speakers = [
        member.name for member in sample.characters if any(turn.name == member.name for turn in sample.dialogue)
    ]
    if not speakers:
        raise ValueError(f"only the Environment speaks in scene {sample.key}: choose another --example")
    if (character or speakers[0]) not in speakers:
        raise ValueError(
            f"{character!r} has no turn in scene {sample.key}: choose one of {', '.join(map(repr, speakers))}"
        )
    return character or speakers[0], f"scene {example} {sample.key}, played: "


def describe(row: Row, tokenizer: Any, *, trunk: bool = True, colour: bool = True) -> list[Text]:
    """The parts of a row in colour: the trunk with the positions at which branches leave it, then each branch.

    Args:
        row (`Row`): A row of [`~her_hf.processing.rows.build`].
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer it was built with.
        trunk (`bool`, *optional*, defaults to `True`): Whether to show the trunk's text.
        colour (`bool`, *optional*, defaults to `True`): Whether trained tokens are coloured; otherwise they are in
            brackets.

    Returns:
        `list[Text]`: Rich texts, one per part.
    """
    from rich.text import Text

    from her_hf.training.one_pass.layers import LAYERS, label_layers

    layers = label_layers(row, tokenizer)
    leaving: dict[int, list[int]] = {}
    for number, (_, _, sees) in enumerate(row["branches"]):
        leaving.setdefault(sees, []).append(number)
    parts: list[Text] = []
    if trunk:
        text = Text("trunk: ", style="bold")
        start = 0
        for at in sorted(leaving):
            text.append(_decoded(tokenizer, row["input_ids"][start:at]), style=_CONTEXT)
            text.append("".join(f"⟨branch {number} leaves⟩" for number in leaving[at]), style="bold red")
            start = at
        text.append(_decoded(tokenizer, row["input_ids"][start : row["trunk_len"]]), style=_CONTEXT)
        parts.append(text)
    for number, (start, end, sees) in enumerate(row["branches"]):
        positions = f"positions {row['position_ids'][start]}-{row['position_ids'][end - 1]}"
        heading = f"branch {number}, reply {row['reply_ids'][number]}: sees trunk 0-{sees} and itself, {positions}\n"
        text = Text(heading, style="bold red")
        at = start
        while at < end:
            stop = at + 1
            while stop < end and layers[stop] == layers[at]:
                stop += 1
            shown = _decoded(tokenizer, row["input_ids"][at:stop])
            if layers[at] < 0:
                text.append(shown, style=_CONTEXT)
            else:
                layer = LAYERS[layers[at]]
                text.append(shown if colour else f"⟦{layer}: {shown}⟧", style=_STYLES[layer])
            at = stop
        parts.append(text)
    return parts


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _legend(colour: bool) -> Text:
    from rich.text import Text

    if not colour:
        return Text("trained: ⟦layer: text⟧; the rest is seen, not trained")
    text = Text("trained: ")
    for layer, style in _STYLES.items():
        text.append(f" {layer} ", style=style)
        text.append(" ")
    text.append(" seen, not trained ", style=_CONTEXT)
    return text


def _summary(report: RowReport) -> str:
    ratio = f"{report.token_ratio:.2f}" if report.token_ratio else "no"
    return (
        f"\n{report.replies} replies in {report.rows} rows: {report.tokens} tokens, {report.trained_tokens} trained; "
        f"{ratio} times fewer than with one sample per reply ({report.per_reply_tokens}). Turns dropped: "
        f"{report.dropped_turns}, replies left out: {report.left_out}, empty: {report.empty}, without a "
        f"prompt: {report.unprompted}, without system thinking: {report.without_thinking}, with stray system "
        f"thinking: {report.stray_thinking}."
    )
