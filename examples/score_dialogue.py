"""Scores a played dialogue with the metrics of `evaluate`: its form, and CoSER's score from flaws that a judge named.

python examples/score_dialogue.py
"""

import evaluate

PLAYED = [
    {"name": "Mara", "text": "<role_thinking>He must not see the logbook.</role_thinking> You are early, Tam."},
    {"name": "Tam", "text": "<role_action>shakes off the rain</role_action> Is the lamp lit?"},
    {"name": "Mara", "text": "It has been lit since four."},
]
SCENE = {
    "book": "The Lamp at Carrow",
    "i_p": 1,
    "i_c": 0,
    "scenario": "A lighthouse in a storm. Mara let the lamp go out for an hour and has not told anybody.",
    "major_characters": ["Mara", "Tam"],
    "dialogues": [
        {"character": "Tam", "message": "The lamp was out. I rowed by ear."},
        {"character": "Mara", "message": "[Say it now.] (puts down the cup) An hour. I slept."},
    ],
}
JUDGEMENT = {
    "SC": [{"instance": "lit since four", "type": "Storyline Consistency", "severity": 3}],
    "AN": [],
    "CF": [{"instance": "You are early, Tam.", "type": "Character Language", "severity": 1}],
    "SQ": None,  # the judge gave no answer: missing, not a number
}

form = evaluate.load("spaces/dual_layer").compute(
    predictions=[f"<system_thinking>Stay calm.</system_thinking>{turn['name']}: {turn['text']}" for turn in PLAYED],
    references=[{"speaker": turn["name"], "names": ["Mara", "Tam"]} for turn in PLAYED],
)
print(f"own role: {form['own_role']}, well-formed: {form['well_formed']}")

coser = evaluate.load("spaces/coser_gca").compute(predictions=[PLAYED], references=[SCENE], judgements=[JUDGEMENT])
print({name: coser[name] for name in ("SC", "AN", "CF", "SQ", "avg", "missing", "missing_by_cause")})
