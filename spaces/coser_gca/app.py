"""Paste a dialogue and a judge's answer to see flaws and CoSER's scores. Everything is computed by her_hf."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from her_hf.inference import ModelError
from her_hf.metrics import coser_gca, read_pasted
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
from her_hf.scenes import scenes_in
from her_hf.scoring.coser_dimensions import DIMENSIONS

ABOUT = """
# CoSER, given-circumstance acting

Paste a dialogue played by models, and a critic's answer. Each of the four dimensions starts at 100 and loses 5 points
for each point of severity beyond 0.3 per turn; only turns by characters count, not those of Environment.
"""
DIALOGUE = """\
Mara: <role_thinking>He must not see the logbook.</role_thinking> <role_action>shuts a drawer</role_action> Early, Tam.
Tam: The tide does not ask what suits you. <role_action>shakes the rain from his hat</role_action> Is the lamp lit?
Environment: Below, the sea knocks at the door.
Mara: It is lit. It has been lit since four.
Tam: Then why did I row the last mile by the sound of the rocks?
"""
ANSWER = """\
{"Storyline Consistency": {"flaws": [
   {"instance": "It has been lit since four.", "type": "Storyline Consistency", "severity": 3}]},
 "Anthropomorphism": {"flaws": []},
 "Character Fidelity": {"flaws": [
   {"instance": "The tide does not ask what suits you.", "type": "Character Language", "severity": 2}]},
 "Storyline Quality": {"flaws": []}}
"""
SCENE: dict[str, Any] = {
    "book": "The Lamp at Carrow",
    "i_p": 1,
    "i_c": 0,
    "scenario": "A lighthouse in a storm. Mara let the lamp go out for an hour and has not told anybody.",
    "plot": {"summary": "Tam comes for the logbook and finds out that the lamp was dark."},
    "key_characters": [{"name": "Mara", "thought": "Nobody was hurt, so nobody need know."}],
    "character_profiles": {
        "Mara": "Keeps the lamp. Proud of never having failed it.",
        "Tam": "Pilot, sparing of words.",
    },
    "major_characters": ["Mara", "Tam"],
    "dialogues": [
        {"character": "Tam", "message": "The lamp was out. I rowed by ear."},
        {"character": "Mara", "message": "[Say it now.] (puts down the cup) An hour. I slept."},
    ],
}

Tables = tuple[list[list[str]], list[list[str]], str]


def score(dialogue: str, answer: str, scene: str, url: str, model: str, thoughts: str) -> Tables:
    """Rows of scores, rows of flaws, and remarks; asks a judge if no answer was pasted.

    Raises:
        `gr.Error`: If something cannot be read, or the judge cannot be reached.
    """
    try:
        return _score(dialogue, answer, scene, url, model, thoughts)
    except (ValueError, OSError, RecursionError, ModelError) as error:
        raise gr.Error(error_text(error)) from error


def _score(dialogue: str, answer: str, scene: str, url: str, model: str, thoughts: str) -> Tables:
    row = _scene(scene)
    turns = read_pasted(dialogue, _names(row) if row else ())
    played = row or {
        "book": "pasted",
        "cast": [{"name": name} for name in dict.fromkeys(str(turn.get("name")) for turn in turns)],
        "dialogue": [],
    }
    judge, judge_model = (None, None) if answer.strip() else chosen_judge(url, model)
    if judge is None and not answer.strip():
        raise ValueError("Paste the judge's answer" + (", or name a judge to ask." if may_type_judge() else "."))
    if judge is not None and row is None:
        raise ValueError("A judge compares the dialogue with the book: paste the scene, a row of CoSER's test set.")
    if answer.strip() and not any(
        name in answer for name in (*DIMENSIONS.values(), *(f'"{code}"' for code in DIMENSIONS))
    ):
        raise ValueError(f"The answer contains no dimension: its keys must be among {list(DIMENSIONS.values())}.")
    results = coser_gca(
        [turns],
        [played],
        judgements=None if judge else [dict.fromkeys(DIMENSIONS, answer)],
        judge=judge,
        judge_model=judge_model,
        thoughts=thoughts,
        show=False,
    )
    return _tables(results)


def _scene(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return None
    row = json.loads(text)
    if not isinstance(row, dict):
        raise ValueError("The scene must be one JSON object, a row of CoSER's test set.")
    return row


def _names(row: dict[str, Any]) -> list[str]:
    scenes, _ = scenes_in(row)
    return [member.name for member in scenes[0].cast]


def _tables(results: dict[str, Any]) -> Tables:
    case = results["cases"][0]
    scores, flaws = [], []
    note = [f"{case['character_turns']} turns by characters."]
    for code, name in DIMENSIONS.items():
        found, missing = case["flaws"][code], case["missing"].get(code)
        scores.append([f"{name} ({code})", number(case[code]), "missing" if missing else str(len(found))])
        if missing:
            note.append(f"{name} is missing ({missing['cause']}): {missing['detail']}")
        for flaw in found or []:
            flaws.append([name, *(str(flaw.get(key, "")) for key in ("type", "severity", "instance"))])
    scores.append(["Average", number(results["avg"]), ""])
    if case["bleu"] is not None:
        note.append(f"Overlap with the book: BLEU {case['bleu']:.3f}, ROUGE-L {case['rouge_l']:.3f}.")
    return scores, flaws, "\n".join(note)


def build() -> Any:
    """The page."""
    with gr.Blocks(title="CoSER GCA", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column():
                info = 'One line `Name: text` per turn, or JSON: [{"name", "text"}, …]'
                dialogue = pasted_box(DIALOGUE, "Dialogue", info, lines=10)
                info = "JSON with the four dimensions, or four answers one after another"
                answer = pasted_box(ANSWER, "The judge's answer", info, lines=8)
                with gr.Accordion("The scene, for a judge and for overlap with the book", open=False):
                    text = json.dumps(SCENE, indent=1, ensure_ascii=False)
                    scene = pasted_box(text, "Scene", "A row of CoSER's test set as JSON, optional", lines=6)
                url, model = judge_boxes("four calls")
                thoughts = gr.Radio(
                    [("removed, as in CoSER", "coser"), ("kept, as in HER", "her")],
                    value="coser",
                    label="Inner thoughts, for the judge and for overlap",
                )
                button = gr.Button("Score", variant="primary")
            with gr.Column():
                scores = result_table("Scores", ["dimension", "score", "flaws"])
                note = gr.Textbox(label="Remarks", interactive=False, lines=2, max_lines=12)
        flaws = result_table("Flaws", ["dimension", "type", "severity", "quote"], widths=[24, 22, 10, 44])
        inputs, outputs = [dialogue, answer, scene, url, model, thoughts], [scores, flaws, note]
        computed(page, button, score, inputs, outputs)
    return page


demo = build()

if __name__ == "__main__":
    demo.launch()
