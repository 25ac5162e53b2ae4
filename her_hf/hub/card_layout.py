"""Our own model card: what was trained on what, how, from which commit, and what was measured."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from her_hf.references import is_hub_id
from her_hf.runs.origin import source_commit

from .base import EMBEDDED_ID

_PAPER = "2601.21459"
_VERSIONED = ("her_hf", "trl", "transformers", "torch", "accelerate", "datasets", "peft")


@dataclass
class ModelCard:
    """What a card says. What is not known stays empty and is then not claimed.

    Args:
        name (`str`): Name of the model.
        base (`str`): The base model as it was given: a Hub id, or a path.
        dataset (`str`): The dataset as it was given: a Hub id, or a path.
        method (`str`): One paragraph: what was done.
        languages (`Sequence[str]`, *optional*): Language codes of the training data.
        license (`str`, *optional*): License of the model.
        adapter (`bool`, *optional*, defaults to `False`): Whether the folder holds a LoRA adapter.
        settings (`Mapping`, *optional*): Settings of the run.
        data (`Mapping`, *optional*): Counts of the data.
        figures (`Mapping`, *optional*): What was measured.
        command (`str`, *optional*): The command that trained the model.
        tags (`Sequence[str]`, *optional*): Further tags of the Hub.
        use (`str`, *optional*): The section that shows how to use it; that of a role-play model if not given.
    """

    name: str
    base: str
    dataset: str
    method: str
    languages: Sequence[str] = ()
    license: str | None = None
    adapter: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    tags: Sequence[str] = ()
    use: str | None = None


def render_card(card: ModelCard) -> str:
    """Writes a model card in Markdown with the Hub's YAML in front.

    Args:
        card ([`ModelCard`]): What is known.

    Returns:
        `str`: The text of `README.md`. A base or dataset that is a local path is named in the text but not in the
            YAML, where the Hub would look for it.

    Example:

    ```python
    >>> card = ModelCard(name="smollm2-her", base="Qwen/Qwen3-32B", dataset="her-mini", method="SFT.")
    >>> "base_model: Qwen/Qwen3-32B" in render_card(card)
    True
    ```
    """
    sections = [
        f"---\n{_front_matter(card)}---",
        f"# {card.name}",
        card.method,
        _source(card),
        card.use or _USE,
        _table("Data", card.data),
        _table("Figures", card.figures),
        _table("Settings", card.settings),
        _table("Made with", {"commit": source_commit() or "not a git checkout", **_versions()}),
        f"## Command\n\n```bash\n{card.command}\n```" if card.command else "",
        _LIMITS,
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def write_card(folder: str | Path, card: ModelCard) -> Path:
    """Writes the card as `README.md` of `folder`, in place of the one that a trainer wrote there."""
    file = Path(folder) / "README.md"
    file.write_text(render_card(card), encoding="utf-8")
    return file


def hub_id(source: str) -> str | None:
    """The Hub id of a source as it was given, or `None` if that is a folder of unknown origin.

    A folder that `her-hf base` wrote, or whose configuration names a Hub id, counts for that id.
    """
    folder = Path(source)
    if not folder.exists():
        name = source.split(":")[0]  # a dataset may name its configuration: owner/name:config, or folder:config
        known = "/" in name and is_hub_id(name)
        return name if known else None
    for file, key in (("base_source.json", "base"), ("config.json", "_name_or_path")):
        if (folder / file).is_file():
            known = json.loads((folder / file).read_text(encoding="utf-8")).get(key)
            if known == "smollm2-135m":
                return EMBEDDED_ID
            if isinstance(known, str) and known != source and (found := hub_id(known)):
                return found
    return None


def _front_matter(card: ModelCard) -> str:
    entries: dict[str, Any] = {
        "library_name": "peft" if card.adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["her", "role-play", "dual-layer-thinking", "sft", "trl", f"arxiv:{_PAPER}", *card.tags],
    }
    if card.license:
        entries["license"] = card.license
    if card.languages:
        entries["language"] = sorted(card.languages)
    if base := hub_id(card.base):
        entries["base_model"] = base
        entries["base_model_relation"] = "adapter" if card.adapter else "finetune"
    if dataset := hub_id(card.dataset):
        entries["datasets"] = [dataset]
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def _source(card: ModelCard) -> str:
    def known(source: str) -> str:
        found = hub_id(source)
        return (
            f"`{found}`"
            if found
            else f"`{Path(source).name}` (a local folder, not on the Hub under a name known here)"
        )

    lines = [f"- Base model: {known(card.base)}", f"- Training data: {known(card.dataset)}"]
    lines.append(f"- License: {card.license}" if card.license else "- License: not stated; it follows base and data")
    return "\n".join(lines)


def _table(title: str, entries: Mapping[str, Any]) -> str:
    if not entries:
        return ""
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in entries.items()]
    return f"## {title}\n\n| | |\n|---|---|\n" + "\n".join(lines)


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _versions() -> dict[str, str]:
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


_USE = """## Use

The chat template in this folder carries the method: past turns lose their system thinking, others' thoughts are
hidden, and the reply opens inside `<system_thinking>`. It needs
transformers, and peft if this folder holds an adapter; nothing else.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
messages = [{"role": "system", "content": SCENE_PROMPT}, {"role": "user", "content": "===Conversation Start==="}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
reply = model.generate(**prompt)[0, prompt["input_ids"].shape[1]:]
print(tokenizer.parse_response(reply, prefix=prompt["input_ids"][0]))  # thinking; content, inner voice inline
```"""

REWARD_USE = """## Use

It uses the chat template of its base; `reward_model.json` says which form of prompt and answer it was
trained on.

her_hf is on no package index yet: install it from a checkout of the project (`pip install '.[train]'`), or from the
wheel that each Space made by `her-hf push metric` carries
(`pip install 'her_hf[train] @ https://huggingface.co/spaces/OWNER/NAME/resolve/main/WHEEL'`).

```python
from her_hf.judging import HERRewardModel

model = HERRewardModel.from_pretrained(FOLDER)
found = model.compare(scene.messages_for("Jo", turns=4), "Jo: Gloves be hanged!", "Jo: How may I help you today?")
found.verdict, found.confidence, found.principles, found.evidence  # both orders; a tie where they disagree
```

`her-hf judge --model FOLDER --pairs pairs.jsonl --out verdicts.jsonl` does it for files. `vllm serve FOLDER` serves it
like any other chat model; ask it there with `--model URL --checkpoint FOLDER`, since the URL does not say how it was
trained. The prompts are in her_hf/judging/pairwise/templates."""

DIRECT_ANSWERS_USE = """

Direct answers, without thinking, name no principles. Reading the probability of each such answer is faster than
generating one, and no verdict is unreadable:

```python
from her_hf.judging import PairJudging

by_probability = PairJudging(form="compact", reasoning=False, read="probability")
model = HERRewardModel.from_pretrained(FOLDER, settings=by_probability)
```

On the command line: `--read probability`."""

_LIMITS = """## Limits

A role-play model speaks for its characters, not for its makers: what a character says may be false, biased or unkind.
System thinking is a plan the model was taught to write, not an explanation of what it computes. A held-out
loss does not measure how well a role is played. The method is that of HER (arXiv 2601.21459); this model was not made
by its authors."""
