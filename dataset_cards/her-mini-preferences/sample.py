"""Samples replies of a model against turns of her-mini, in the layers and about the length of the turn itself.

    python dataset_cards/her-mini-preferences/sample.py --model outputs/quickstart/her-sft --name her-sft

Order and number of layers are those of the written turn, each layer is sampled by itself behind its opening tag and
cut at the end of a sentence: so neither form nor length tells which of the two the model wrote. What is there in
`sources/sampled.jsonl` is kept: the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

from her_hf.devices import settle_dtype
from her_hf.dual_layer import Layer, Segment, Turn
from her_hf.durable import Journal, derive_seed
from her_hf.inference.seeded import SeededSampler
from her_hf.scenes import Scene, load_scenes

FOLDER = Path(__file__).parent
SAMPLED = FOLDER / "sources" / "sampled.jsonl"
HISTORY = 2
"""Turns before the reply that the model reads."""

_OPENING = {Layer.ROLE_THINKING: "<role_thinking>", Layer.ROLE_ACTION: "<role_action>", Layer.SPEECH: ""}
_SENTENCE = re.compile(r"[.!?…]+[\"'’”)]*(?=\s|$)")
_BARRED = ("<", ">", "\n", "[", "]", "(", ")", "*", "#")
"""What no token of a layer may hold: markup and line breaks."""
_SLACK = 0.2
"""A layer may be this much longer or shorter than the written one, to end with a sentence."""


@dataclass(frozen=True)
class Target:
    """A turn to write another version of."""

    scene: Scene
    index: int

    @property
    def turn(self) -> Turn:
        return self.scene.dialogue[self.index]

    def key(self, name: str) -> tuple[str, str, int]:
        return name, self.scene.key_text, self.index

    def prompt(self, tokenizer: Any) -> str:
        """What the model reads, up to the label of its reply."""
        start = max(0, self.index - HISTORY)
        shown = self.scene.model_copy(update={"dialogue": self.scene.dialogue[start : self.index]})
        messages = shown.messages_for(str(self.turn.name), turns=self.index - start, system_thinking=False)
        text = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, enable_thinking=False, tokenize=False
        )
        return f"{text}{self.turn.name}:"


def targets(every: int, offset: int) -> Iterator[Target]:
    """English turns of each split at a fixed interval from `offset`; in the test split at half the interval."""
    for split in ("train", "validation", "test"):
        turns = [
            Target(scene, index)
            for scene in load_scenes(FOLDER.parent / "her-mini", split=split)
            if scene.language == "en"
            for index in range(len(scene.dialogue))
        ]
        step = max(1, every // 2) if split == "test" else every
        yield from turns[offset % step :: step]


def cut(text: str, words: int, layer: Layer, names: Sequence[str]) -> str:
    """The text up to the sentence end nearest to the wanted number of words, or to that number if none is near.

    The label of a member of the cast ends it in any case.
    """
    text = re.split("|".join(re.escape(name) + r"\s*:" for name in names), text, maxsplit=1)[0]
    text = " ".join(text.split())
    ends = [text[: match.end()] for match in _SENTENCE.finditer(text)]
    near = [end for end in ends if abs(len(end.split()) - words) <= words * _SLACK]
    by_words = " ".join(text.split()[:words])
    text = min(near, key=lambda end: abs(len(end.split()) - words)) if near else by_words
    if layer is Layer.ROLE_ACTION:
        return text.rstrip(" .,;:")
    return text if not text or text[-1] in ".!?…\"'’”" else text.rstrip(" ,;:-") + "."


class Sampler:
    """Draws one layer for many turns in one batch."""

    def __init__(self, folder: str, *, temperature: float, top_p: float, seed: int) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=settle_dtype("bfloat16", "cpu")).eval()
        self._temperature, self._top_p, self._seed = temperature, top_p, seed
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        barred = [token for token, text in enumerate(texts) if any(sign in text for sign in _BARRED)]
        # Every layer goes on until it is long enough to be cut, so that its length tells nothing.
        self._barred = sorted({*barred, *self.tokenizer.all_special_ids})

    def draw(self, texts: Sequence[str], seeds: Sequence[int], most: int) -> list[str]:
        batch = self.tokenizer(list(texts), return_tensors="pt", padding=True, add_special_tokens=False)
        width = batch["input_ids"].shape[1]
        out = self._model.generate(
            **batch,
            do_sample=False,
            temperature=None,
            top_p=None,
            max_new_tokens=most,
            logits_processor=LogitsProcessorList([SeededSampler(seeds, self._temperature, self._top_p)]),
            suppress_tokens=self._barred,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in out[:, width:]]

    def replies(self, asked: Sequence[Target], name: str) -> list[str | None]:
        """One reply a turn, layer by layer; `None` where a layer came out empty three times."""
        prompts = [target.prompt(self.tokenizer) for target in asked]
        written: list[list[Segment] | None] = [[] for _ in asked]
        for place in range(max(len(target.turn.segments) for target in asked)):
            for attempt in range(3):
                rows = [
                    at
                    for at, target in enumerate(asked)
                    if (found := written[at]) is not None and len(found) == place < len(target.turn.segments)
                ]
                if not rows:
                    break
                gold = {at: asked[at].turn.segments[place] for at in rows}
                texts = [
                    f"{prompts[at]} {_rendered(written[at] or [])} {_OPENING[gold[at].layer]}".rstrip() for at in rows
                ]
                seeds = [derive_seed(self._seed, *asked[at].key(name), place, attempt) for at in rows]
                most = max(len(self.tokenizer(gold[at].text)["input_ids"]) for at in rows) + 8
                for at, text in zip(rows, self.draw(texts, seeds, most), strict=True):
                    names = [member.name for member in asked[at].scene.cast]
                    body = cut(text, len(gold[at].text.split()), gold[at].layer, names)
                    if body:
                        written[at] = [*(written[at] or []), Segment(gold[at].layer, body)]
            for at, target in enumerate(asked):
                if (found := written[at]) is not None and len(found) == place < len(target.turn.segments):
                    written[at] = None
        return [None if segments is None else _rendered(segments) for segments in written]


def _rendered(segments: Sequence[Segment]) -> str:
    return Turn(name=None, system_thinking=None, segments=tuple(segments)).render(view="self")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Folder or Hub id of a model with the HER template.")
    parser.add_argument("--name", required=True, help="What the rows call it, e.g. base or her-sft.")
    parser.add_argument("--every", type=int, default=6, help="Interval of the sampled turns (test: half of it).")
    parser.add_argument("--offset", type=int, default=0, help="First turn that is taken.")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--out", type=Path, default=SAMPLED)
    given = parser.parse_args()
    journal = Journal(given.out, key=lambda row: (row["model"], row["scene"], row["turn"]))
    waiting = [target for target in targets(given.every, given.offset) if target.key(given.name) not in journal.rows]
    if not waiting:
        print("all there already")
        return 0
    sampler = Sampler(given.model, temperature=given.temperature, top_p=given.top_p, seed=given.seed)
    failed = 0
    for start in tqdm(range(0, len(waiting), given.batch_size), desc=f"replies of {given.name}"):
        batch = waiting[start : start + given.batch_size]
        for target, text in zip(batch, sampler.replies(batch, given.name), strict=True):
            if text is None:
                failed += 1
                continue
            name, scene, turn = target.key(given.name)
            journal.add({"model": name, "scene": scene, "turn": turn, "text": text})
    print(f"{len(journal.rows)} replies in {given.out}; {failed} turns had an empty layer and are left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
