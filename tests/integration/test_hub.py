"""From the recipes to a Hub, and from there to those who have nothing of ours: bytes, tokens and rows stay the same.

The Hub is a stand-in on this machine; all clients of it are processes of their own, as they would be elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import SERVER_LOG
from tests.integration.tiny_checkpoint import DATA, OUT, write_tiny_base
from tests.integration.venvs import INTEGRATION, ROOT, plain_python
from tests.integration.vllm_server import post, vllm_server
from tests.integration.vllm_venv import vllm_python, why_not_here
from tests.support.hub import READER, WRITER, StandIn, child_environment, lose_answer, refuse, stand_in, tear_request
from tests.support.hub.table import fault_table
from tests.support.pairs import a_pair
from tests.support.training import options, rm_rl_values, rm_sft_values

if TYPE_CHECKING:
    from her_hf.scenes import Scene

pytestmark = pytest.mark.integration

ROLE = "Odile"
MAX_NEW_TOKENS = 48
SFT, RM_SFT, RM = "me/her-sft", "me/her-rm-sft", "her-lab/her-rm"
DATASET, METRIC = "me/her-mini", "me/dual_layer"


@dataclass(frozen=True)
class Place:
    """The Hub, and where its clients work.

    Args:
        hub ([`StandIn`]): The Hub.
        folder (`Path`): Folder for runs, pulls and caches.
    """

    hub: StandIn
    folder: Path

    def run(
        self, *command: str | Path, who: str, token: str | None = WRITER, ours: bool = True, given: str | None = None
    ) -> str:
        """Runs a client with a cache of its own and returns what it printed; the errors of a failed one are shown."""
        known = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} if ours else {}
        done = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT if ours else self.folder,
            env=child_environment(self.hub, self.folder / "homes" / who, token, **known),
            input=given,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def her_hf(self, *words: str | Path) -> str:
        """Runs `her-hf`, which is on no path here."""
        return self.run(sys.executable, "-m", "her_hf.cli.main", *words, who="her-hf")

    def recipe(self, name: str, values: Mapping[str, Any], repo_id: str, *more: str) -> Path:
        """Runs a recipe that pushes, and returns its folder."""
        out = self.folder / "runs" / repo_id.partition("/")[2]
        pushed = {**values, "output_dir": out, "push_to_hub": True, "hub_model_id": repo_id, "license": "apache-2.0"}
        self.run(sys.executable, f"recipes/{name}.py", *more, *options(pushed), who=name)
        return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with stand_in() as hub:
        yield Place(hub, tmp_path_factory.mktemp("hub"))
        assert not hub.unknown()
        assert not hub.plan.unmet, "a planned fault met no request"


@pytest.fixture(scope="module")
def trained(place: Place) -> dict[str, Path]:
    """The folder of each recipe's run by its repository; each push met a fault."""
    base, pairs = place.folder / "tiny-base", place.folder / "pairs.jsonl"
    write_tiny_base(base)
    pairs.write_text("".join(json.dumps(a_pair(number).to_row()) + "\n" for number in range(4)))
    place.hub.plan.add(lose_answer("commit"), refuse("commit", 503), tear_request("upload", after=1))
    sft = {"model_name_or_path": base, "dataset": DATA, "max_steps": 12}
    found = {SFT: place.recipe("sft", sft, SFT, "--config", str(DATA / "config.yaml"))}
    short: dict[str, Any] = {"max_steps": 2, "save_strategy": "no"}
    found[RM_SFT] = place.recipe("rm_sft", rm_sft_values(base, pairs, place.folder, **short), RM_SFT)
    public = {**short, "hub_private_repo": False}
    found[RM] = place.recipe("rm_rl", rm_rl_values(found[RM_SFT], pairs, place.folder, **public), RM)
    return found


@pytest.fixture(scope="module")
def messages(scene: Scene) -> list[dict[str, Any]]:
    """The conversation before the role's second turn."""
    turns = [at for at, turn in enumerate(scene.dialogue) if turn.name == ROLE]
    return scene.messages_for(ROLE, turns=turns[1])


@pytest.fixture(scope="module")
def tokens(place: Place, trained: dict[str, Path], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What plain transformers generates from the run's folder, from the Hub and from a pulled folder, by source."""
    request = json.dumps({"messages": messages, "max_new_tokens": MAX_NEW_TOKENS})
    pulled = place.folder / "pulled" / "tokens"
    place.her_hf("pull", "model", SFT, pulled)
    program = (plain_python(), INTEGRATION / "hub_plain.py", "tokens")
    answer = place.run(*program, trained[SFT], SFT, pulled, who="plain", token=READER, ours=False, given=request)
    found = json.loads(answer)
    assert not found["her_hf_found"]
    return dict(zip(("run", "hub", "pulled"), found["sources"].values(), strict=True))


@pytest.mark.parametrize("repo_id", [SFT, RM_SFT, RM])
def test_a_recipe_pushes_what_it_made(place: Place, trained: dict[str, Path], repo_id: str) -> None:
    there, run = place.hub.repository(repo_id), contents(trained[repo_id])
    assert len(there.commits) == 2, [commit.title for commit in there.commits]
    assert without(there.files, ".gitattributes").items() <= run.items()
    kept = run.keys() - there.files.keys()
    assert all(name in ("run.json", "training_args.bin") or name.startswith("checkpoint-") for name in kept), kept
    assert {"model.safetensors", "README.md", "results.json", "tokenizer.json"} <= there.files.keys()
    assert there.private == (repo_id != RM)
    for name, content in there.files.items():
        assert str(place.folder).encode() not in content and WRITER.encode() not in content, name


def test_what_was_pushed_is_pulled(place: Place, trained: dict[str, Path]) -> None:
    place.her_hf("push", "dataset", "dataset_cards/her-mini", DATASET, "--public", "--collection", "HER")
    place.her_hf("push", "metric", "spaces/dual_layer", METRIC, "--public", "--collection", "HER")
    place.her_hf("push", "model", trained[SFT], SFT, "--collection", "HER")
    for kind, repo_id, source in (
        ("model", SFT, trained[SFT]),
        ("dataset", DATASET, ROOT / "dataset_cards" / "her-mini"),
        ("metric", METRIC, ROOT / "spaces" / "dual_layer"),
    ):
        out = place.folder / "pulled" / kind
        place.her_hf("pull", kind, repo_id, out)
        there = place.hub.repository(repo_id, "space" if kind == "metric" else kind)
        assert contents(out) == there.files
        pushed, own = without(there.files, ".gitattributes"), contents(source)
        changed = {name for name, content in pushed.items() if own.get(name) != content}
        # A metric's install lines name the wheel that its Space carries.
        carried = {name for name in pushed if name.endswith(".whl")}
        allowed = {"README.md", "requirements.txt", "dual_layer.py", *carried} if kind == "metric" else set()
        assert changed <= allowed and len(carried) == (kind == "metric")
    (collection,) = place.hub.store.collections.values()
    assert [item[:2] for item in collection.items] == [("dataset", DATASET), ("space", METRIC), ("model", SFT)]


def test_tokens_stay_the_same(tokens: dict[str, Any], trained: dict[str, Path]) -> None:
    assert tokens["hub"] == tokens["run"] and tokens["pulled"] == tokens["run"]
    assert len(set(tokens["run"]["drawn"])) > 8 and "thinking" in tokens["run"]["parsed"]
    keep("hub_tokens.json", json.dumps(tokens, indent=1, ensure_ascii=False))


def test_the_reward_model_is_a_plain_model(place: Place, trained: dict[str, Path]) -> None:
    """It is public, so nobody in particular uses it."""
    request = json.dumps({"messages": [{"role": "user", "content": "Which is better?"}], "max_new_tokens": 8})
    program = (plain_python(), INTEGRATION / "hub_plain.py", "tokens")
    answer = json.loads(place.run(*program, RM, trained[RM], who="anybody", token=None, ours=False, given=request))
    hub, run = answer["sources"].values()
    assert hub == run and not answer["her_hf_found"]


def test_rows_stay_the_same(place: Place) -> None:
    place.her_hf("push", "dataset", "dataset_cards/her-mini", DATASET, "--public")
    program = (plain_python(), INTEGRATION / "hub_plain.py", "rows", DATASET)
    answer = json.loads(place.run(*program, who="rows", token=None, ours=False))
    assert not answer["her_hf_found"]
    for split, found in answer["splits"].items():
        lines = (ROOT / "dataset_cards" / "her-mini" / "data" / f"{split}.jsonl").read_text(encoding="utf-8")
        wanted = [json.loads(line) for line in lines.splitlines()]
        assert [filled(row) for row in found["rows"]] == [filled(row) for row in wanted]
        assert filled(found["first"]) == filled(wanted[0])
    assert answer["splits"].keys() == {"train", "validation", "test"}


_METRIC = """
import evaluate, her_hf, json
print(her_hf.__file__)
reply = "<system_thinking>She stalls.</system_thinking>\\nMara: <role_thinking>Not now.</role_thinking> It is lit."
metric = evaluate.load(SOURCE)
print(json.dumps(metric.compute(predictions=[reply], references=[{"speaker": "Mara", "names": ["Mara", "Tam"]}])))
"""


def test_a_metric_computes_the_same(place: Place) -> None:
    """From the Hub, it computes with the wheel that its Space names, without a checkout of ours."""
    place.her_hf("push", "metric", "spaces/dual_layer", METRIC, "--public")
    lines = place.hub.repository(METRIC, "space").files["requirements.txt"].decode().splitlines()
    (wheel,) = (line.replace("[eval]", "") for line in lines if line.startswith("her_hf"))
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", place.folder / "wheel", wheel)
    place.run(sys.executable, *install, who="pip", token=None, ours=False)
    where = {METRIC: place.folder / "wheel", str(ROOT / "spaces" / "dual_layer"): ROOT}
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda source: computed(place, source, where[source]), where))
    assert found[0] == found[1] and found[0]["well_formed"] == 1


@pytest.mark.skipif(bool(why_not_here()), reason=why_not_here())
def test_vllm_serves_it_from_the_hub(
    place: Place, trained: dict[str, Path], messages: list[dict[str, Any]], tokens: dict[str, Any]
) -> None:
    environment = child_environment(place.hub, place.folder / "homes" / "vllm", READER)
    with vllm_server(vllm_python(), SFT, SERVER_LOG, max_model_len=2048, environment=environment) as root:
        body = {"model": SFT, "messages": messages, "temperature": 0, "max_tokens": 24, "return_token_ids": True}
        answer = post(f"{root}/v1/chat/completions", body)
    choice = answer["choices"][0]
    assert answer["prompt_token_ids"] == tokens["run"]["prompt"]
    assert choice["token_ids"] == tokens["run"]["greedy"][: len(choice["token_ids"])]
    assert choice["message"]["reasoning"]
    assert any("vllm" in request.agent or "transformers" in request.agent for request in place.hub.journal)


def test_the_table_of_faults(tmp_path: Path) -> None:
    table = fault_table(tmp_path)
    assert "commit done, answer lost" in table and "commits in all: 2" not in table
    keep("hub_faults.md", table)


def keep(name: str, text: str) -> None:
    """Leaves a file for whoever wants to see what was compared."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(text, encoding="utf-8")


def computed(place: Place, source: str, code: Path) -> dict[str, Any]:
    """What a metric computes, loaded from the Hub or from a folder, with the her_hf that lies in `code`."""
    program = f"import sys; sys.path.insert(0, {str(code)!r})\n{_METRIC.replace('SOURCE', repr(source))}"
    who = f"metric-{source.replace('/', '-')}"
    printed = place.run(sys.executable, "-c", program, who=who, token=None, ours=False)
    *_, where, result = printed.splitlines()
    assert Path(where).is_relative_to(code)
    return dict(json.loads(result))


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their paths in it."""
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {path: content for path, content in files.items() if path != name}


def filled(value: Any) -> Any:
    """A value without the fields that are null: a table has the columns of all its rows in each."""
    if isinstance(value, dict):
        return {key: filled(inner) for key, inner in value.items() if inner is not None}
    return [filled(inner) for inner in value] if isinstance(value, list) else value
