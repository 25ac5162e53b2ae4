"""A trained reward model, in this process or behind a server: `HERRewardModel.from_pretrained(path)`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from her_hf.durable import digest, read_json, write_json
from her_hf.inference import Caller, Ledger, is_url, open_model
from her_hf.references import is_hub_id
from her_hf.settings import CONCURRENCY

from .circumstances import Circumstances
from .judge import FORMS, PairJudging, PairVerdict, PairwiseJudge
from .pairs import Pair
from .prompts import prompts_used

SETTINGS_FILE = "reward_model.json"
"""In a checkpoint: the form that it was trained on, whether it thinks first, and a digest of the prompts."""


class HERRewardModel:
    """A generative pairwise reward model.

    Args:
        judge ([`PairwiseJudge`]): The judge that asks it.

    Example (not run: it needs a model):

    ```python
    >>> model = HERRewardModel.from_pretrained("outputs/smollm2-135m-her-rm-sft")
    >>> verdict = model.compare(scene.messages_for("Jo", turns=4), "Jo: Gloves be hanged!", "Jo: How may I help?")
    >>> verdict.verdict, verdict.principles[0].name
    ('cand_1', 'Assistant Voice')
    ```
    """

    def __init__(self, judge: PairwiseJudge) -> None:
        self._judge = judge
        # The caller's locks belong to one loop. It runs in a thread, because a notebook already runs a loop.
        self._runner = asyncio.Runner()
        self._thread = ThreadPoolExecutor(1)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        settings: PairJudging | None = None,
        ledger: Ledger | None = None,
        concurrency: int = CONCURRENCY,
        model: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> HERRewardModel:
        """Loads a checkpoint in this process, with its own template, or opens a server.

        Args:
            path (`str` or `Path`): Folder, Hub id or the URL of a server.
            settings ([`PairJudging`], *optional*): How to ask it; by default as it was trained, which a URL does not
                say: give [`trained_settings`] of the checkpoint that it serves.
            ledger ([`~her_hf.inference.Ledger`], *optional*): Stores answers.
            concurrency (`int`, *optional*, defaults to 16): Most answers generated concurrently.
            model, device, dtype (`str`, *optional*): See [`~her_hf.inference.open_model`].

        Raises:
            `FileNotFoundError`: If there is no such folder or Hub id.
            `ValueError`: If it is not a model that can be asked, or a URL without `settings`.
        """
        settings = settings or trained_settings(path)
        found = open_model(str(path), model=model, device=device, dtype=dtype, attach=False)
        return cls(PairwiseJudge(Caller(found, ledger=ledger, concurrency=concurrency), settings))

    def compare(
        self,
        prompt: Sequence[Mapping[str, Any]],
        cand_1: str,
        cand_2: str,
        *,
        character: str | None = None,
        circumstances: Circumstances | None = None,
    ) -> PairVerdict:
        """Judges two replies to one prompt.

        Args:
            prompt (`Sequence[dict]`): The character's own conversation, as `Scene.messages_for` gives it.
            cand_1, cand_2 (`str`): The replies in HER notation; their system thinking is not shown to the model.
            character (`str`, *optional*): Who replies; by default as in the system message.
            circumstances ([`~her_hf.judging.Circumstances`], *optional*): What the replies answer, see
                [`~her_hf.judging.circumstances_of`]; by default as read out of the prompt.

        Raises:
            `ValueError`: If a side is empty, both are the same, the context is missing, or the circumstances are of
                another character.
        """
        if circumstances is not None:
            character = character or circumstances.character
        row = {"prompt": list(prompt), "cand_1": cand_1, "cand_2": cand_2, "character": character}
        return self.judge([replace(Pair.from_row(row), carried=circumstances)])[0]

    def judge(self, pairs: Sequence[Pair]) -> list[PairVerdict]:
        """Judges pairs, in batches."""
        return self._thread.submit(self._runner.run, self._judge.judge_all(pairs)).result()

    def close(self) -> None:
        """Closes connections and ends its loop and thread. A model in this process is freed with the object."""
        self._thread.submit(self._runner.run, self._judge.caller.close()).result()
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def fingerprint(self) -> dict[str, Any]:
        """What determines a verdict besides the pair: the model, and how it is asked."""
        model = self._thread.submit(self._runner.run, self._judge.caller.fingerprint()).result()
        return {"model": model, **self._judge.settings.as_dict()}


def write_reward_settings(folder: str | Path, *, form: str, reasoning: bool = True) -> None:
    """Records in a checkpoint which form it was trained on, and whether it thinks first."""
    note = {"form": form, "reasoning": reasoning, "prompts": digest(prompts_used())}
    write_json(Path(folder) / SETTINGS_FILE, note)


def trained_settings(source: str | Path, *, checkpoint: str | Path | None = None, **given: Any) -> PairJudging:
    """How to ask a model: as recorded in its checkpoint; a folder or Hub id without a record is asked in the published
    form, thinking first.

    Args:
        source (`str` or `Path`): A folder, a Hub id or a URL.
        checkpoint (`str` or `Path`, *optional*): The checkpoint that the server at a URL serves, a folder or Hub id.
        given: Settings that take precedence; `None` is not a setting.

    Raises:
        `ValueError`: If the record is not valid, or if `source` is a URL and neither a checkpoint nor the form is
            given: asked in another form than it was trained on, a reward model answers nonsense.
        `FileNotFoundError`: If the checkpoint has no record.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    at_url = is_url(str(source))
    if checkpoint is not None and not at_url:
        raise ValueError(f"a checkpoint is named for a server only, but {source} is a folder or Hub id: leave it out")
    if at_url and checkpoint is None:
        if "form" not in chosen:
            raise ValueError(
                f"{source} does not say how its model judges. If it is a reward model of her_hf, name the checkpoint "
                f"that the server serves (--checkpoint: a folder or Hub id with {SETTINGS_FILE}); if it is another "
                "model, give the form (--form published, or compact for a small model)."
            )
        return PairJudging(**chosen)
    file = _settings_file(str(source if checkpoint is None else checkpoint))
    if file is None and checkpoint is not None:
        raise FileNotFoundError(
            f"{checkpoint} has no {SETTINGS_FILE}, which says how a reward model was trained. Name another "
            "checkpoint, or in its place the form (--form)."
        )
    return replace(_recorded(file) if file is not None else PairJudging(), **chosen)


def _recorded(file: Path) -> PairJudging:
    """The settings in the record of a checkpoint."""
    note = read_json(file)
    form, reasoning = note.get("form"), note.get("reasoning", True)
    if form not in FORMS:
        raise ValueError(f"{file}: form must be one of {list(FORMS)}, got {form!r}. Delete the file or fix it.")
    if not isinstance(reasoning, bool):
        raise ValueError(f"{file}: reasoning must be true or false, got {reasoning!r}. Delete the file or fix it.")
    return PairJudging(form=form, reasoning=reasoning)


def _settings_file(source: str) -> Path | None:
    """The record in a folder or in a repository on the Hub, if it has one."""
    folder = Path(source)
    if is_url(source) or not is_hub_id(source):
        file = folder / SETTINGS_FILE
        return file if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source, SETTINGS_FILE))
    except LocalEntryNotFoundError:  # no network: a guessed form could silently be the wrong one
        raise
    except EntryNotFoundError:
        return None
