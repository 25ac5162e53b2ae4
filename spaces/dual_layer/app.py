"""Paste dual-layer replies: who sees what, and which of them are malformed. Computed by her_hf."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr

from her_hf.dual_layer import Layer, Turn, parse_turn
from her_hf.metrics import dual_layer
from her_hf.metrics.apps import computed, error_text, number, pasted_box, result_table

ABOUT = """
# Dual-layer form

Paste replies of a role-playing model that thinks in two layers: system thinking (about how to play, invisible to
everyone in the scene) and role thinking (the character's own, visible only to that character). No judge is needed.
"""
REPLIES = """\
<system_thinking>
Mara is caught out. She should sound calm and busy, and give nothing away.
</system_thinking>
Mara: <role_thinking>He must not see the logbook.</role_thinking> <role_action>shuts a drawer</role_action> Early, Tam.
---
<system_thinking>
Tam asks again. Keep it short.
</system_thinking>
Mara: It is lit. <thinking>I hope he believes it.</thinking>
---
Tam: Then why did I row the last mile by the sound of the rocks?
"""
LAYERS = {
    Layer.SYSTEM_THINKING: ("system thinking: nobody", "#9aa5b1"),
    Layer.ROLE_THINKING: ("role thinking: own character", "#d9b26f"),
    Layer.ROLE_ACTION: ("action: all", "#7a9e7e"),
    Layer.SPEECH: ("speech: all", "#2f6f9f"),
}
"""Label of each layer, which names who sees it, and its colour."""

CSS = ".textfield { word-break: normal !important; overflow-wrap: anywhere; }"
"""Words of highlighted text stay whole."""

_BETWEEN = re.compile(r"^\s*---+\s*$", re.MULTILINE)
Shown = list[tuple[str, str | None]]


def score(text: str, speaker: str, cast: str, notation: str) -> tuple[Shown, list[list[str]], list[list[str]]]:
    """The layers of all replies, rows of figures, and a row for each reply.

    Raises:
        `gr.Error`: If there is no reply, or no speaker is named.
    """
    try:
        return _score(text, speaker, cast, notation)
    except ValueError as error:
        raise gr.Error(error_text(error)) from error


def _score(text: str, speaker: str, cast: str, notation: str) -> tuple[Shown, list[list[str]], list[list[str]]]:
    replies = [part.strip() for part in _BETWEEN.split(text) if part.strip()]
    if not replies:
        raise ValueError("Paste at least one reply; separate replies with a line of three dashes.")
    names = [name.strip() for name in re.split("[,，\n]", cast) if name.strip()]
    context: dict[str, Any] = {"speaker": speaker.strip(), "notation": notation}
    if names:
        context["names"] = list(dict.fromkeys([context["speaker"], *names]))
    results = dual_layer(replies, [context] * len(replies))
    turns = [parse_turn(reply, notation=notation, speaker=context["speaker"], names=names) for reply in replies]
    rows = [
        [
            str(place),
            "yes" if case["well_formed"] else "no",
            "yes" if case["own_role"] else "no",
            case["pattern"] or "–",
            ", ".join(case["issues"]) or "–",
            "; ".join(case["leaks"]) or "–",
        ]
        for place, case in enumerate(results["cases"], start=1)
    ]
    return (
        [piece for place, turn in enumerate(turns, start=1) for piece in _pieces(place, turn)],
        _figures(results),
        rows,
    )


def _pieces(place: int, turn: Turn) -> Shown:
    """One reply as runs of one layer each."""
    shown: Shown = [(f"{place}. {turn.name or '(no name)'}\n", None)]
    if turn.system_thinking:
        shown.append((turn.system_thinking, LAYERS[Layer.SYSTEM_THINKING][0]))
    shown += [(segment.text, LAYERS[segment.layer][0]) for segment in turn.segments]
    return [*shown, ("\n\n", None)]


def _figures(results: dict[str, Any]) -> list[list[str]]:
    ends = results["intervals"]
    shares = {
        "well-formed": "well_formed",
        "in role": "own_role",
        "something visible": "visible",
        "own thinking leaked into speech": "leak_rate",
        f"most frequent pattern ({results['top_pattern'] or '–'})": "top_share",
    }
    rows = [
        [label, f"{results[name]:.0%}", f"{ends[name][0]:.0%} to {ends[name][1]:.0%}" if ends[name] else "–"]
        for label, name in shares.items()
    ]
    rows.append(["entropy of patterns (nats)", number(results["pattern_entropy"], ".2f"), ""])
    rows.append(["Self-BLEU-4", number(results["self_bleu"], ".3f"), ""])
    lengths = results["characters"].items()
    return rows + [[f"characters, {layer.replace('_', ' ')}", number(size, ".0f"), ""] for layer, size in lengths]


def build() -> Any:
    """The page."""
    with gr.Blocks(title="Dual-layer form", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column():
                info = "As the model wrote them, system thinking inline; separate replies with a line of three dashes"
                text = pasted_box(REPLIES, "Replies", info, lines=14)
                with gr.Row():
                    speaker = gr.Textbox("Mara", label="Who should speak", max_length=200)
                    cast = gr.Textbox("Mara, Tam", label="Cast", info="Names, separated by commas", max_length=2000)
                notation = gr.Radio(
                    [("HER (tags)", "her"), ("CoSER ([thought], (action))", "coser")], value="her", label="Notation"
                )
                button = gr.Button("Analyse", variant="primary")
            with gr.Column():
                layers = gr.HighlightedText(
                    label="Layers, and who sees them",
                    color_map=dict(LAYERS.values()),
                    show_legend=True,
                    interactive=False,
                )
                figures = result_table("Figures", ["figure", "value", "95% interval"])
        headers = ["reply", "well-formed", "in role", "pattern", "issues", "leaks"]
        rows = result_table("Replies", headers, widths=[8, 12, 9, 10, 25, 36])
        inputs, outputs = [text, speaker, cast, notation], [layers, figures, rows]
        computed(page, button, score, inputs, outputs)
    return page


demo = build()

if __name__ == "__main__":
    demo.launch(css=CSS)
