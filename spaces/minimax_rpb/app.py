"""Paste a role-play session and a judge's answer to see errors and scores. Everything is computed by her_hf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from her_hf.inference import ModelError
from her_hf.metrics import minimax_rpb, read_pasted
from her_hf.metrics.apps import (
    chosen_judge,
    computed,
    error_text,
    judge_boxes,
    may_type_judge,
    number,
    pasted_box,
    result_table,
)
from her_hf.scoring.minimax import CHUNK_TURNS, PILLARS, WEIGHTS

ABOUT = f"""
# Role-play bench, MiniMax-style

Paste a session and the errors that a judge found in it. In each chunk of {CHUNK_TURNS} turns every column starts at
100 and loses 5, 15 or 40 points for a minor, major or critical error. **The scale is our own**: do not compare it with
published scores.
"""
SESSION = """\
Mara: (wipes the lamp glass) Nobody climbs these stairs for fun. What do you want?
Guest: Shelter until the storm is over.
Mara: Then sit. The stove is lit, and the soup is older than you are.
Guest: Who else lives here?
Mara: Nobody. My brother Tam is asleep upstairs, so keep your voice down.
Guest: You said nobody.
Mara: You nod, thank me warmly and decide to stay for a week.
"""
ANSWER = """\
{"errors": [
  {"column": "logic_score", "turn": 4, "quote": "Nobody. My brother Tam is asleep upstairs", "severity": "major",
   "reason": "She lives alone and with her brother."},
  {"column": "interaction_score", "turn": 6, "quote": "You nod, thank me warmly", "severity": "major",
   "reason": "She acts for the user."}]}
"""
SEED: dict[str, Any] = {
    "id": "lamp",
    "ai_name": "Mara",
    "ai_setting": "Mara keeps a lighthouse alone. She is gruff and never asks anybody to stay.",
    "user_name": "Guest",
    "user_setting": "A walker caught by the storm.",
    "ai_prologue": "(wipes the lamp glass) Nobody climbs these stairs for fun. What do you want?",
    "initial_user_input": "Shelter until the storm is over.",
}

Tables = tuple[list[list[str]], list[list[str]], str]


def score(session: str, answer: str, seed: str, url: str, model: str) -> Tables:
    """Rows of scores, rows of errors, and remarks; asks a judge if no answer was pasted.

    Raises:
        `gr.Error`: If something cannot be read, or the judge cannot be reached.
    """
    try:
        return _score(session, answer, seed, url, model)
    except (ValueError, OSError, RecursionError, ModelError) as error:
        raise gr.Error(error_text(error)) from error


def _score(session: str, answer: str, seed: str, url: str, model: str) -> Tables:
    row = json.loads(seed) if seed.strip() else None
    names = [str(row[key]) for key in ("ai_name", "user_name") if isinstance(row, dict) and row.get(key)]
    turns = _with_roles(read_pasted(session, names), names)
    judge, judge_model = (None, None) if answer.strip() else chosen_judge(url, model)
    if judge is None and not answer.strip():
        raise ValueError("Paste the judge's answer" + (", or name a judge to ask." if may_type_judge() else "."))
    results = minimax_rpb(
        [turns],
        [row],
        judgements=None if judge else [_answers(answer)],
        judge=judge,
        judge_model=judge_model,
        show=False,
    )
    return _tables(results)


def _with_roles(turns: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Turns with the role of each: whoever speaks first is the character, unless the seed names the two sides."""
    if all("role" in turn for turn in turns):
        return turns
    sides = list(names) or list(dict.fromkeys(str(turn.get("name")) for turn in turns))
    if len(sides) > 2:
        raise ValueError(f"A session has two sides, got {sides[:6]}: give the seed, which names them.")
    roles = dict(zip(sides, ("ai", "user"), strict=False))
    return [{"role": roles.get(str(turn.get("name"))), "text": turn.get("text")} for turn in turns]


def _answers(text: str) -> list[Any]:
    """The judge's answer for each chunk: a JSON list of answers, or the only answer of a short session."""
    try:
        value = json.loads(text)
    except ValueError:
        return [text]  # one answer, which need not be JSON as a whole
    return value if isinstance(value, list) else [text]


def _tables(results: dict[str, Any]) -> Tables:
    scores = [["Overall", "", number(results["overall"])]]
    for pillar, columns in PILLARS.items():
        scores.append([pillar.title(), f"{WEIGHTS[pillar]:.0%} of overall", number(results[pillar])])
        scores += [[f"· {_column(name)}", "", number(results[name])] for name in columns]
    chunks = results["cases"][0]["chunks"]
    errors = [
        [
            *(str(error.get(key, "")) for key in ("turn", "severity")),
            _column(str(error["column"])),
            *(str(error.get(key, "")) for key in ("quote", "reason")),
        ]
        for chunk in chunks
        for error in chunk["errors"] or []
    ]
    note = f"{len(chunks)} {'chunk' if len(chunks) == 1 else 'chunks'}, {results['missing']} without a judgement."
    for chunk in chunks:
        if chunk["missing"]:
            note += f"\n{chunk['missing']['cause']}: {chunk['missing']['detail']}"
    return scores, errors, note


def _column(name: str) -> str:
    return name.removesuffix("_score").replace("_", " ")


def build() -> Any:
    """The page."""
    with gr.Blocks(title="Role-play bench, MiniMax-style", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column():
                info = 'One line `Name: text` per turn, the opening first; or JSON: [{"role", "text"}, …]'
                session = pasted_box(SESSION, "Session", info, lines=10)
                info = 'JSON: {"errors": […]}, or a list of such objects, one per chunk'
                answer = pasted_box(ANSWER, "The judge's answer", info, lines=8)
                with gr.Accordion("The seed, which names both sides; a judge needs it", open=False):
                    text = json.dumps(SEED, indent=1, ensure_ascii=False)
                    seed = pasted_box(text, "Seed", "A row of MiniMaxAI/role-play-bench as JSON, optional", lines=6)
                url, model = judge_boxes("one call per chunk")
                button = gr.Button("Score", variant="primary")
            with gr.Column():
                scores = result_table("Scores", ["", "weight", "score"])
                note = gr.Textbox(label="Remarks", interactive=False, lines=2, max_lines=12)
        headers = ["turn", "severity", "column", "quote", "reason"]
        errors = result_table("Errors", headers, widths=[7, 10, 14, 36, 33])
        inputs, outputs = [session, answer, seed, url, model], [scores, errors, note]
        computed(page, button, score, inputs, outputs)
    return page


demo = build()

if __name__ == "__main__":
    demo.launch()
