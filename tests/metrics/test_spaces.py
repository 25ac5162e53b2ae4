"""The evaluate modules in `spaces/`: loaded as users load them, their figures, their errors, and their apps."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from her_hf.hub.push import push
from her_hf.inference import Ledger, ModelError
from her_hf.metrics import coser_gca, dual_layer, from_json, minimax_rpb, read_pasted, to_json
from her_hf.scenes import coser_row, load_scenes
from her_hf.scenes.seeds import Seed
from recipes.benchmarks.scripted_server import scripted
from tests.support.hub import StandIn, child_environment, stand_in, use
from tests.support.minimax import caller, model_of, planted, refuses, says
from tests.support.paths import ROOT

NAMES = ("coser_gca", "minimax_rpb", "dual_layer")

SCENE: dict[str, Any] = {
    "book": "The Lamp",
    "i_p": 1,
    "i_c": 0,
    "scenario": "A lighthouse.",
    "dialogues": [
        {"character": "Ann", "message": "[No.] The lamp is lit, Bob."},
        {"character": "Bob", "message": "So."},
    ],
}
PLAYED = [
    {"name": "Ann", "text": "<role_thinking>No.</role_thinking> The lamp is lit, Bob."},
    {"name": "Environment", "text": "It rains."},
    {"name": "Bob", "text": "Is it?"},
]
NONE = {"SC": [], "AN": [], "CF": [], "SQ": []}
SEED = {
    "id": "mill",
    "ai_name": "Ann",
    "ai_setting": "Ann keeps a mill.",
    "user_name": "Bob",
    "user_setting": "",
    "ai_prologue": "Come in.",
    "initial_user_input": "Thanks.",
}


def session(turns: int) -> list[dict[str, str]]:
    return [{"role": ("ai", "user")[number % 2], "text": f"I whistle {number}."} for number in range(turns)]


@cache
def loaded(name: str) -> Any:
    evaluate = pytest.importorskip("evaluate", reason="needs evaluate: pip install her_hf[eval]")
    return evaluate.load(str(ROOT / "spaces" / name))


@cache
def app(name: str) -> ModuleType:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs gradio: pip install her_hf[demo]")
    spec = importlib.util.spec_from_file_location(f"app_of_{name}", ROOT / "spaces" / name / "app.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- as users load them


@pytest.mark.parametrize("name", NAMES)
def test_the_readmes_example_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("evaluate")
    monkeypatch.chdir(ROOT)
    text = (ROOT / "spaces" / name / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    shown = re.findall(r"^(.+?)  # ([(\[].+)$", block, re.MULTILINE)
    exec(block, names)
    assert shown
    for code, expected in shown:
        assert eval(code, names) == eval(expected), code


@pytest.mark.parametrize("name", NAMES)
def test_front_matter_and_requirements(name: str) -> None:
    folder = ROOT / "spaces" / name
    front = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["sdk"] == "gradio" and {"evaluate", "metric"} <= set(front["tags"]) and front["description"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", front["sdk_version"]) and front["python_version"] == "3.12"
    assert (folder / front["app_file"]).is_file()
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["her_hf[eval]==0.1.0"]
    info = loaded(name).info
    assert info.description and "Args:" in info.inputs_description and "Returns:" in info.inputs_description
    assert info.citation.strip() in (folder / "README.md").read_text(encoding="utf-8")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with caches of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "0", **environment},
        timeout=300,
    )


def test_without_her_hf_the_error_gives_the_install_line(tmp_path: Path) -> None:
    pytest.importorskip("evaluate")
    code = f"""
import sys
sys.modules["her_hf"] = None
import evaluate
for name in {NAMES}:
    try:
        evaluate.load(f"spaces/{{name}}")
    except ImportError as error:
        print(error)
"""
    done = run(code, HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    said = done.stdout.strip().splitlines()
    assert len(said) == 3
    for line, name in zip(said, NAMES, strict=True):
        assert line.startswith(f"{name} computes with her_hf") and "pip install 'PATH_TO_CHECKOUT[eval]'" in line


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A Hub to which the three metrics were pushed."""
    with stand_in() as found, monkeypatch.context() as patch:
        use(found, tmp_path / "mine", patch)
        for name in NAMES:
            push("metric", ROOT / "spaces" / name, f"me/{name}", public=True)
        yield found


def on_hub(hub: StandIn, home: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of somebody without a token, with caches of its own."""
    child = child_environment(hub, home, None, **environment)
    return subprocess.run(command, env=child, capture_output=True, text=True, timeout=300, cwd=home.parent)


def test_from_a_hub(hub: StandIn, tmp_path: Path) -> None:
    """It is loaded by its name; without her_hf its error gives an install line that works."""
    pytest.importorskip("evaluate")
    code = """
import evaluate
metric = evaluate.load("me/dual_layer")
print(metric.compute(predictions=["Ann: Hi."], references=[{"speaker": "Ann"}])["own_role"])
"""
    python, site = [sys.executable, "-c"], tmp_path / "site"
    lost = on_hub(hub, tmp_path / "home", [*python, "import sys; sys.modules['her_hf'] = None" + code])
    (line,) = re.findall(r"pip install '(her_hf\[eval\] @ [^']+)'", lost.stderr)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    installed = on_hub(hub, tmp_path / "home", [*pip, "--target", str(site), line])
    assert installed.returncode == 0, installed.stderr
    done = on_hub(
        hub, tmp_path / "home", [*python, f"{code}import her_hf; print(her_hf.__file__)"], PYTHONPATH=str(site)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1.0", str(site / "her_hf" / "__init__.py")]


def test_values_of_any_shape_go_through_the_columns() -> None:
    odd = [{"a": [1, None, {"b": "lone \ud800 half"}], "c": 2.5}, [], "text", None]
    found, none = to_json(odd)
    assert from_json(found) == odd and from_json(none) == [None] * 4
    scene = load_scenes(ROOT / "dataset_cards" / "her-mini", split="test")[0]
    (text,), _ = to_json([scene])
    assert json.loads(text)["book"] == scene.book


def test_adding_one_by_one_and_in_batches() -> None:
    metric = loaded("dual_layer")
    metric.add(prediction="Ann: Hi.", reference={"speaker": "Ann"})
    metric.add_batch(predictions=["Bob: Hi."], references=[{"speaker": "Ann", "names": ["Ann", "Bob"], "ended": True}])
    assert metric.compute()["own_role"] == 0.5
    with pytest.raises(ValueError, match="must be an object with the text `speaker`"):
        metric.compute(predictions=["Ann: Hi."])
    assert metric.compute(predictions=["Ann: Hi."], references=[{"speaker": "Ann"}])["replies"] == 1


# -- CoSER


def test_scores_are_those_of_the_evaluation(tmp_path: Path) -> None:
    """The same numbers as `her-hf eval coser`, from its judgements and from its judge."""
    scenes = load_scenes(ROOT / "dataset_cards" / "her-mini", split="train")[:3]
    file, out = tmp_path / "scenes.json", tmp_path / "out"
    references = [coser_row(scene) for scene in scenes]
    file.write_text(json.dumps(references, ensure_ascii=False), encoding="utf-8")
    with scripted(tmp_path / "server", faults=True) as (url, _):
        options = ["--scenes", str(file), "--actor", url, "--judge", url, "--out", str(out), "--rounds", "5"]
        command = [sys.executable, "-m", "her_hf.cli.main", "eval", "coser", *options, "--max-missing", "1"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
        rows = [json.loads(line) for line in (out / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
        judged = loaded("coser_gca").compute(predictions=rows, references=references, judge=url, show=False)
    expected = json.loads((out / "results.json").read_text(encoding="utf-8"))
    found: dict[Any, dict[str, Any]] = {}
    for line in (out / "judgements.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(tuple(row["key"]), {})[row["dimension"]] = row["flaws"]
    given = loaded("coser_gca").compute(
        predictions=rows, references=references, judgements=[found[tuple(row["key"])] for row in rows]
    )
    for results in (judged, given):
        assert {name: results[name] for name in expected["figures"]["scores"]} == expected["figures"]["scores"]
        assert results["intervals"] == expected["intervals"]
        assert {name: results[name] for name in ("bleu", "rouge_l")} == expected["figures"]["overlap"]
        assert results["missing"] == expected["missing"]["missing"]
    assert judged["missing_by_cause"] == expected["missing"]["by_cause"]
    assert judged["cases"][0]["flaws"]["SC"] == found[tuple(rows[0]["key"])]["SC"]


def test_coser_counts_what_is_missing() -> None:
    flaws = [{"type": "?", "severity": "3"}, {"instance": 'a quoted </think> {"flaws": 1} in ```\n{}```'}]
    judgement = {"SC": flaws, "Anthropomorphism": [{"severity": True}], "CF": "I would rather not.", "SQ": None}
    results = coser_gca([PLAYED], [SCENE], judgements=[judgement])
    assert results["SC"] == 100 - 5 * (4 - 0.3 * 2) and results["avg"] is None
    assert results["missing"] == 3
    assert results["missing_by_cause"] == {"bad_value": 1, "no_json": 1, "not_given": 1}
    (case,) = results["cases"]
    assert case["flaws"]["SC"] == flaws and set(case["missing"]) == {"AN", "CF", "SQ"}
    for beside, cause in (({"more": [{"severity": 10}]}, "wrong_keys"), ({"repaired": False, "judge": "x"}, None)):
        given = {"SQ": {"flaws": [], **beside}}
        found = coser_gca([PLAYED], [SCENE], judgements=[given])["cases"][0]["missing"].get("SQ")
        assert (found and found["cause"]) == cause
    failed = coser_gca([{"key": ["The Lamp", 1, 0], "turns": [], "ended_by": "failed"}], [SCENE], judgements=[None])
    assert failed["missing_by_cause"] == {"dialogue": 4} and failed["cases"] == [] and failed["avg"] is None


def test_coser_thoughts_and_notation() -> None:
    answer = json.dumps({name: {"flaws": []} for name in ("Storyline Consistency", "Anthropomorphism")})
    coser = [{"name": "Ann", "text": "[No.] The lamp is lit, Bob."}]
    for thoughts, shown in (("coser", False), ("her", True)):
        judge = caller(says(answer))
        results = coser_gca([coser], [SCENE], judge=judge, thoughts=thoughts, notation="coser", show=False)
        prompts = [messages[-1]["content"] for messages, *_ in model_of(judge).asked]
        assert all(("[No.]" in prompt) is shown for prompt in prompts) and results["thoughts"] == thoughts
        assert results["missing_by_cause"] == {"wrong_keys": 2} and results["SC"] == 100
    kept = coser_gca([coser], [SCENE], judgements=[NONE], thoughts="her", notation="coser")
    removed = coser_gca([coser], [SCENE], judgements=[NONE], notation="coser")
    assert kept["rouge_l"] > removed["rouge_l"] > 0


def test_a_judge_in_a_running_loop_again_and_from_its_ledger(tmp_path: Path) -> None:
    judge = caller(says(json.dumps({"flaws": []})))

    async def notebook() -> dict[str, Any]:
        return coser_gca([PLAYED], [SCENE], judge=judge, show=False)

    assert asyncio.run(notebook())["avg"] == 100
    assert coser_gca([PLAYED] * 1, [SCENE], judge=judge, show=False)["avg"] == 100
    model = model_of(caller(says(json.dumps({"flaws": []}))))
    for _ in range(2):
        assert coser_gca([PLAYED], [SCENE], judge=model, ledger=tmp_path / "kept.sqlite", show=False)["avg"] == 100
    assert len(model.asked) == 4
    with Ledger(tmp_path / "kept.sqlite") as ledger:
        assert len(ledger) == 4


def test_a_judge_that_refuses_is_missing_and_one_that_is_not_there_is_an_error() -> None:
    assert coser_gca([PLAYED], [SCENE], judge=caller(refuses), show=False)["missing_by_cause"] == {"request": 4}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(ModelError, match="No server answers at"):
        coser_gca([PLAYED], [SCENE], judge=url, show=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judgements": None}, "give either judge .* or judgements .*, got neither"),
        ({"judge": "http://127.0.0.1:9"}, "got both"),
        ({"judgements": [NONE, NONE]}, "got 1 predictions and 2 judgements"),
        ({"references": [SCENE, SCENE]}, "got 1 predictions and 2 references"),
        ({"predictions": [PLAYED] * 2, "references": [SCENE] * 2, "judgements": [NONE] * 2}, "occur more than once"),
        ({"predictions": [PLAYED[0]]}, r"predictions\[0\] must be a list of turns"),
        ({"predictions": [[]]}, r"predictions\[0\] must be a list of turns .*, got \[\]"),
        ({"predictions": "Ann: Hi."}, "predictions must be a list, got str"),
        ({"predictions": [], "references": []}, "must not be empty"),
        ({"predictions": ["Ann: Hi."]}, r"predictions\[0\] must be JSON if it is a text"),
        ({"predictions": [[{"name": "Ann", "text": 3}]]}, r"predictions\[0\], turn 0 must have the texts"),
        ({"predictions": [[{"character": "Ann", "message": "Hi."}]]}, "must have the texts `name` and `text`"),
        ({"predictions": [[{"name": "Cy", "text": "Hi."}]]}, "by 'Cy', who is not in the scene's cast"),
        ({"predictions": [{"key": ["B", 0, 0], "turns": PLAYED}]}, "but its reference is .*: use the same order"),
        ({"predictions": [{1, 2}]}, r"predictions\[0\] must be a JSON value"),
        ({"references": [{"book": "The Lamp"}]}, "references, item 0"),
        ({"references": [None]}, r"references\[0\] must be a scene"),
        ({"judgements": [{"Style": []}]}, r"judgements\[0\] has unknown dimensions \['Style'\]; use \['SC'"),
        ({"judgements": [[]]}, r"judgements\[0\] must be an object with flaws by dimension"),
        ({"judgements": [{"SC": 4}]}, r"judgements\[0\]\['SC'\] must be a list of flaws"),
        ({"judgements": None, "judge": 7}, "judge must be a server's URL, .*, got int"),
        ({"thoughts": "all"}, "thoughts must be one of"),
        ({"notation": "html"}, "notation must be one of"),
    ],
)
def test_coser_refuses(change: dict[str, Any], message: str) -> None:
    given = {"predictions": [PLAYED], "references": [SCENE], "judgements": [NONE], "show": False} | change
    with pytest.raises(ValueError, match=message):
        loaded("coser_gca").compute(**given)


# -- reenactment


def test_minimax_from_turns_and_from_judged_chunks() -> None:
    error = {"column": "logic_score", "severity": "major"}
    turns = loaded("minimax_rpb").compute(
        predictions=[session(43), session(43), {"seed_id": "mill", "turns": [], "failure": {"cause": "x"}}],
        references=[SEED, SEED, SEED],
        judgements=[[[error], None, []], [[], '{"errors": []}', "no JSON"], None],
    )
    chunks = loaded("minimax_rpb").compute(
        predictions=[[[error], None, []], [[], [], None]], references=[SEED, {**SEED, "id": "other"}]
    )
    assert turns["cases"][0]["logic_score"] == chunks["cases"][0]["logic_score"] == 92.5
    assert turns["missing_by_cause"] == {"no_json": 1, "not_given": 1} and turns["missing_sessions"] == 1
    assert (turns["seeds"], turns["sessions"], turns["logic_score"]) == (1, 2, 96.25)
    assert turns["overall"] == pytest.approx(0.5 * turns["worlds"] + 50) and "not with published" in turns["scale"]
    assert [point["n"] for point in turns["curve"]] == [2, 1, 1] and turns["curve"][-1]["last_turn"] == 41
    assert turns["intervals"]["overall"] is None
    assert chunks["seeds"] == 2 and chunks["intervals"]["overall"] and chunks["missing"] == 2


def test_minimax_asks_a_judge() -> None:
    results = minimax_rpb(
        [session(42)] * 2, [Seed(**SEED, language="en").model_dump()] * 2, judge=caller(planted), show=False
    )
    assert results["missing"] == 0 and results["knowledge_score"] == 0  # ten whistles a chunk
    assert results["cases"][0]["chunks"][0]["errors"][1]["quote"] == "I sing."
    refused = minimax_rpb([session(42)], [SEED], judge=caller(refuses), show=False)
    assert refused["missing_by_cause"] == {"request": 2} and refused["overall"] is None
    public = {"seed_id": "mill", "dialogue": json.dumps(session(4))}
    assert minimax_rpb([public], judgements=[[[]]])["cases"][0]["seed"] == "?/mill"
    more = minimax_rpb([session(4)], judgements=[[{"errors": [], "more": [{"column": "logic_score"}]}]])
    assert more["missing_by_cause"] == {"wrong_keys": 1} and more["overall"] is None
    assert minimax_rpb([session(4)], judgements=[[{"errors": [], "chunk": 0, "missing": None}]])["overall"] == 100.0
    bad = minimax_rpb([session(4)], judgements=[[[{"column": "logic_score", "severity": "grave"}]]])
    assert bad["missing_by_cause"] == {"bad_value": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judgements": None}, "got neither"),
        ({"judgements": [[]]}, r"judgements\[0\] must have an entry for each of the 1 chunks, got 0"),
        ({"judgements": [[[{"column": "style", "severity": "minor"}]]]}, r"unknown columns \['style'\]"),
        ({"judgements": [[["bad"]]]}, r"judgements\[0\]\[0\] must be a list of errors"),
        ({"judgements": [[], []]}, "got 1 predictions and 2 judgements"),
        ({"judgements": [7]}, "must be a list with an entry for each chunk"),
        ({"predictions": [[[]]]}, "judged chunks cannot be combined with judge, judgements"),
        ({"predictions": [session(2)]}, r"predictions\[0\] has no turn to judge"),
        ({"predictions": [[{"role": "npc", "text": "Hi."}]]}, r"turn 0 must have `role`"),
        ({"predictions": [[{"role": "ai", "text": None}]]}, r"turn 0 must have `role`"),
        ({"predictions": [{"seed_id": "other", "turns": session(3)}]}, "but its reference is 'mill'"),
        ({"predictions": [3]}, "must be a list of turns, a row of dialogues.jsonl, or judged chunks"),
        ({"references": [{"id": "x"}]}, "references, item 0, field"),
        ({"references": [3]}, r"references\[0\] must be a seed"),
        ({"judgements": None, "judge": "http://127.0.0.1:9", "references": None}, "a judge needs the setting"),
        ({"chunk": 1}, "chunk must be at least 2"),
    ],
)
def test_minimax_refuses(change: dict[str, Any], message: str) -> None:
    given = {"predictions": [session(3)], "references": [SEED], "judgements": [[[]]], "show": False} | change
    with pytest.raises(ValueError, match=message):
        loaded("minimax_rpb").compute(**given)


# -- form


def test_dual_layer_figures() -> None:
    whole = "<system_thinking>Plan.</system_thinking>Ann: <role_thinking>No.</role_thinking> Tea?"
    results = dual_layer(
        [whole, whole, "Bob: Hi."],
        [{"speaker": "Ann", "ended": True}, {"speaker": "Ann", "ended": False}, {"speaker": "Ann", "ended": True}],
    )
    assert (results["well_formed"], results["own_role"], results["ended"]) == (1 / 3, 2 / 3, 2 / 3)
    assert (
        results["top_pattern"] == "TS" and results["intervals"]["ended"][0] < 2 / 3 < results["intervals"]["ended"][1]
    )
    assert [case["pattern"] for case in results["cases"]] == ["TS", "TS", "S"]
    empty = dual_layer([""], [{"speaker": "Ann"}])
    assert empty["ended"] is None and empty["intervals"]["top_share"] is None and empty["self_bleu"] is None
    bracketed = dual_layer(["Ann: [No.] Tea?"], [{"speaker": "Ann", "notation": "coser"}])
    assert bracketed["top_pattern"] == "TS"


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["Hi."], [{}], r"references\[0\] must be an object with the text `speaker`"),
        (["Hi."], [{"speaker": " "}], "must be an object with the text `speaker`"),
        (["Hi."], ["Ann"], "must be JSON if it is a text"),
        ([3], [{"speaker": "Ann"}], r"predictions\[0\] must be a reply, a text, got 3"),
        (["Hi."], [{"speaker": "Ann", "names": "Ann"}], "names must be a list of texts"),
        (["Hi."], [{"speaker": "Ann", "names": ["Bob"]}], "speaker 'Ann' is not among names"),
        (["Hi."], [{"speaker": "Ann", "ended": "yes"}], "ended must be true or false"),
        (["Hi."], [{"speaker": "Ann", "notation": "html"}], "notation must be one of"),
        (["Hi."], [{"speaker": "Ann", "cast": []}], r"unknown keys \['cast'\]"),
        (["Hi.", "Ho."], [{"speaker": "Ann"}], "got 2 predictions and 1 references"),
    ],
)
def test_dual_layer_refuses(predictions: list[Any], references: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loaded("dual_layer").compute(predictions=predictions, references=references)


# -- what is pasted


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("Ann: Tea?\nWith milk?\n\nBob: Please.", (), [("Ann", "Tea?\nWith milk?"), ("Bob", "Please.")]),
        ("Ann: Note\nTask: wait.\nBob: Yes.", ("Ann", "Bob"), [("Ann", "Note\nTask: wait."), ("Bob", "Yes.")]),
        ("[He looks.]\nAnn: Hi.", (), [("Ann", "[He looks.]\nHi.")]),
        ("林晚：请进。\n周客：多谢。", (), [("林晚", "请进。"), ("周客", "多谢。")]),
        (
            "<system_thinking>\nPlan: one\n</system_thinking>\nAnn: Hi.\n<think>\nBob: stalls.</think> Bob: Yes.",
            (),
            [
                ("Ann", "<system_thinking>\nPlan: one\n</system_thinking>\n\nHi."),
                ("Bob", "<think>\nBob: stalls.</think>\nYes."),
            ],
        ),
        (
            "Ann: Hi.\n<system_thinking>never closed\nBob: x",
            (),
            [("Ann", "Hi.\n<system_thinking>never closed\nBob: x")],
        ),
        ("**Ann:** Tea?\nBOB (low): No.", ("Ann", "Bob"), [("Ann", "Tea?"), ("Bob", "(low) No.")]),
        ('[{"name": "Ann", "text": "Hi."}]', (), [("Ann", "Hi.")]),
        ('{"turns": [{"name": "Ann", "text": "Hi."}]}', (), [("Ann", "Hi.")]),
    ],
)
def test_reading_what_is_pasted(text: str, names: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    assert [(turn["name"], turn["text"]) for turn in read_pasted(text, names)] == expected


@pytest.mark.parametrize("text", ["", "no label here", "[]", "{broken"])
def test_nothing_to_read(text: str) -> None:
    with pytest.raises(ValueError, match="No turn was found"):
        read_pasted(text)


# -- the apps

HOSTILE = "<img src=x onerror=alert(1)>"


def test_coser_app(monkeypatch: pytest.MonkeyPatch) -> None:
    page = app("coser_gca")
    scene = json.dumps(page.SCENE)
    scores, flaws, note = page.score(page.DIALOGUE, page.ANSWER, scene, "", "", "coser")
    assert scores[0][:2] == ["Storyline Consistency (SC)", "91.0"] and scores[-1][:2] == ["Average", "96.8"]
    assert [flaw[2] for flaw in flaws] == ["3", "2"] and "4 turns by characters" in note and "ROUGE-L" in note
    scores, _, note = page.score("Ann: Hi.", '{"Anthropomorphism": {"flaws": []}}', "", "", "", "her")
    assert scores[1][1] == "100.0" and scores[0][1:] == ["–", "missing"] and "BLEU" not in note
    assert "Storyline Consistency is missing (wrong_keys): wanted" in note
    monkeypatch.setattr(page, "coser_gca", lambda *a, judge, **k: coser_gca(*a, judge=judge and caller(refuses), **k))
    _, flaws, note = page.score(page.DIALOGUE, "", scene, "http://127.0.0.1:9", "", "coser")
    assert "Anthropomorphism is missing (request): the server is on fire" in note and flaws == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": ""}, "Paste the judge's answer, or name a judge"),
        ({"answer": "", "url": "http://127.0.0.1:9", "scene": ""}, "paste the scene"),
        ({"answer": '{"flaws": []}'}, "contains no dimension"),
        ({"scene": "{"}, "Expecting"),
        ({"scene": "[" * 100_000}, "recursion"),
        ({"answer": "", "url": "models/judge"}, "must be the URL of a server"),
        ({"dialogue": "[1]"}, "turn 0 must be an object, got 1"),
        ({"scene": "[]"}, "must be one JSON object"),
        ({"dialogue": HOSTILE}, "No turn was found"),
        ({"dialogue": json.dumps([{"name": HOSTILE, "text": "Hi."}])}, "&lt;img src=x onerror=alert"),
    ],
)
def test_coser_app_refuses(change: dict[str, str], message: str) -> None:
    page = app("coser_gca")
    given = {"dialogue": page.DIALOGUE, "answer": page.ANSWER, "scene": json.dumps(page.SCENE)}
    with pytest.raises(page.gr.Error) as error:
        page.score(**{**given, "url": "", "model": "", "thoughts": "coser", **change})
    assert message in str(error.value.message) or message in str(error.value.message).replace("&#x27;", "'")
    assert "<img" not in str(error.value.message)


def test_minimax_app() -> None:
    page = app("minimax_rpb")
    for seed in (json.dumps(page.SEED), ""):
        scores, errors, note = page.score(page.SESSION, page.ANSWER, seed, "", "")
        assert scores[0] == ["Overall", "", "93.8"] and [error[:2] for error in errors] == [
            ["4", "major"],
            ["6", "major"],
        ]
        assert note == "1 chunk, 0 without a judgement."
    _, _, note = page.score(page.SESSION, "no JSON", "", "", "")
    assert "1 without a judgement" in note and "no_json" in note
    long = json.dumps(session(30))
    assert page.score(long, '[{"errors": []}, {"errors": []}]', "", "", "")[0][0][2] == "100.0"
    for given in (
        (long, page.ANSWER, "", "", ""),
        ("A: x\nB: y\nC: z", page.ANSWER, "", "", ""),
        ("", "x", "", "", ""),
    ):
        with pytest.raises(page.gr.Error):
            page.score(*given)


def test_dual_layer_app() -> None:
    page = app("dual_layer")
    layers, figures, rows = page.score(page.REPLIES, "Mara", "Mara, Tam", "her")
    assert [row[1:4] for row in rows] == [["yes", "yes", "TAS"], ["no", "yes", "S"], ["no", "no", "S"]]
    assert ("He must not see the logbook.", "role thinking: own character") in layers
    assert figures[0][:2] == ["well-formed", "33%"]
    assert page.score("Ann: [No.] Tea?", "Ann", "", "coser")[2][0][3] == "TS"
    for given in (("---", "Ann", "", "her"), ("Ann: Hi.", "", "", "her")):
        with pytest.raises(page.gr.Error):
            page.score(*given)


def test_on_the_hub_the_owner_names_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    from her_hf.metrics.apps import chosen_judge

    monkeypatch.setenv("JUDGE_URL", "https://judge.example")
    assert chosen_judge(" http://typed ", "") == ("http://typed", None)
    assert chosen_judge("", "") == ("https://judge.example", None)
    monkeypatch.setenv("SPACE_ID", "me/coser_gca")
    assert chosen_judge("http://169.254.169.254", "x") == ("https://judge.example", None)
    monkeypatch.delenv("JUDGE_URL")
    assert chosen_judge("http://169.254.169.254", "") == (None, None)


@pytest.mark.parametrize("name", NAMES)
def test_an_app_answers_over_http(name: str) -> None:
    page = app(name)
    from gradio_client import Client

    inputs = {
        "coser_gca": [f"Ann: {HOSTILE}", json.dumps({"SC": {"flaws": [{"instance": HOSTILE}]}}), "", "", "", "coser"],
        "minimax_rpb": [page.SESSION, page.ANSWER, "", "", ""] if name == "minimax_rpb" else [],
        "dual_layer": [f"Ann: {HOSTILE}", "Ann", "", "her"],
    }[name]
    assert page.demo.analytics_enabled is False
    _, url, _ = page.demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, ssr_mode=False, quiet=True)
    try:
        found = Client(url, verbose=False).predict(*inputs, api_name="/score")
    finally:
        page.demo.close()
    text = json.dumps(found, ensure_ascii=False)
    assert HOSTILE in text if name != "minimax_rpb" else "She acts for the user." in text  # as text, in a text cell
