"""Paste a dialogue and what a judge found in it: flaws and CoSER's scores. Everything is computed by her_hf."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from her_hf.inference import ModelError
from her_hf.metrics import coser_gca, read_pasted
from her_hf.metrics.apps import MOST_CHARACTERS, chosen_judge, may_type_judge, number, said
from her_hf.scenes import scenes_in
from her_hf.scoring.coser import DIMENSIONS

ABOUT = """
# CoSER, given-circumstance acting

Paste a dialogue that models played, and what a critic found in it. Each of the four dimensions starts at 100 and loses
5 points for each point of severity beyond 0.3 a turn; only turns by characters count, not those of Environment.
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
    """Rows of scores, rows of flaws, and what there is to say beside them; asks a judge if there is no answer.

    Raises:
        `gr.Error`: If something cannot be read, or the judge cannot be reached.
    """
    try:
        return _score(dialogue, answer, scene, url, model, thoughts)
    except (ValueError, OSError, RecursionError, ModelError) as error:
        raise gr.Error(said(error)) from error


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
        raise ValueError("A judge compares with the book: paste the scene, a row of CoSER's test set.")
    if answer.strip() and not any(
        name in answer for name in (*DIMENSIONS.values(), *(f'"{code}"' for code in DIMENSIONS))
    ):
        raise ValueError(f"The answer names no dimension: its keys must be among {list(DIMENSIONS.values())}.")
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
    typed = may_type_judge()
    with gr.Blocks(title="CoSER GCA", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column():
                dialogue = gr.Textbox(
                    DIALOGUE,
                    label="Dialogue",
                    info='A line `Name: text` for each turn, or JSON: [{"name", "text"}, …]',
                    lines=10,
                    max_lines=20,
                    max_length=MOST_CHARACTERS,
                )
                answer = gr.Textbox(
                    ANSWER,
                    label="The judge's answer",
                    info="JSON with the four dimensions; four answers one after another are read too",
                    lines=8,
                    max_lines=16,
                    max_length=MOST_CHARACTERS,
                )
                with gr.Accordion("The scene, for a judge and for overlap with the book", open=False):
                    scene = gr.Textbox(
                        json.dumps(SCENE, indent=1, ensure_ascii=False),
                        label="Scene",
                        info="A row of CoSER's test set, JSON; may be empty",
                        lines=6,
                        max_lines=16,
                        max_length=MOST_CHARACTERS,
                    )
                with gr.Accordion("Ask a judge instead", open=False, visible=typed):
                    gr.Markdown("Used while the judge's answer is empty: four calls to an OpenAI-compatible server.")
                    url = gr.Textbox(label="URL", placeholder="http://127.0.0.1:8000/v1", max_length=500)
                    model = gr.Textbox(label="Model", info="Its name there, if it offers several", max_length=200)
                thoughts = gr.Radio(
                    [("removed, as in CoSER", "coser"), ("kept, as in HER", "her")],
                    value="coser",
                    label="Inner thoughts, for the judge and for overlap",
                )
                button = gr.Button("Score", variant="primary")
            with gr.Column():
                scores = gr.Dataframe(
                    headers=["dimension", "score", "flaws"], datatype="str", label="Scores", interactive=False
                )
                note = gr.Textbox(label="Beside the scores", interactive=False, lines=2, max_lines=12)
        flaws = gr.Dataframe(
            headers=["dimension", "type", "severity", "words"],
            datatype="str",
            label="Flaws",
            interactive=False,
            wrap=True,
            column_widths=["24%", "22%", "10%", "44%"],
        )
        inputs, outputs = [dialogue, answer, scene, url, model, thoughts], [scores, flaws, note]
        button.click(score, inputs, outputs, api_name="score", concurrency_limit=4)
        page.load(score, inputs, outputs, show_progress="hidden")
    return page


demo = build()

if __name__ == "__main__":
    demo.launch()
