"""How a pairwise judge is named and asked: the options that `her-hf judge` and `her-hf eval reward` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from her_hf.settings import setting

from .options import Calls, Group, ModelReference

if TYPE_CHECKING:
    from her_hf.inference import Ledger
    from her_hf.judging import BadPair, Pair, PairJudging, PairwiseJudge

PANEL = "Asking the judge"
JUDGE = Group(
    PANEL,
    "model",
    required=("model",),
    help={"model": "The judge: a URL (several, separated by commas), a folder or a Hub id."},
)
JUDGING = Group(PANEL, without=("form", "reasoning", "read"))


@dataclass(frozen=True)
class Pairs:
    """Which pairs are judged.

    Args:
        pairs (`str`): A JSONL file or a preference set.
        split (`str`, *optional*): Split of a preference set.
        scenes (`str`, *optional*): Where a pair without circumstances gets them from, by its `scene_key`.
        limit (`int`, *optional*): Only the first pairs.
    """

    pairs: str = setting(help="JSONL file of pairs, or a preference set (folder, Hub id).", metavar="SOURCE")
    split: str | None = setting(None, help="Split of a preference set; else test.")
    scenes: str | None = setting(
        None,
        help="Scenes that pairs name by scene_key: a pair without circumstances gets them from there.",
        metavar="SOURCE",
    )
    limit: int | None = setting(None, help="Use only the first N pairs.", min=1, metavar="N")

    def read(self) -> Sequence[Pair | BadPair]:
        """All pairs, whatever the limit.

        Raises:
            `FileNotFoundError`: If there is no such file of pairs.
            `ValueError`: If not a single row is a pair, or the scenes cannot be read.
        """
        from her_hf.judging import read_pairs
        from her_hf.scenes import load_scenes

        return read_pairs(self.pairs, split=self.split, scenes=load_scenes(self.scenes) if self.scenes else ())


@dataclass(frozen=True)
class Answer:
    """What form of answer is asked for, if not the one that the checkpoint notes.

    Args:
        form (`str`, *optional*): See [`~her_hf.judging.PairJudging`].
        reasoning (`bool`, *optional*): See there.
        read (`str`, *optional*, defaults to `"text"`): See there.
    """

    form: str | None = setting(
        None,
        choices=("published", "compact"),
        help="Form of prompt and answer; else what the checkpoint notes, else published.",
    )
    reasoning: bool | None = setting(
        None, help="Whether the judge reasons before its verdict; else what the checkpoint notes, else it does."
    )
    read: str = setting(
        "text",
        choices=("text", "probability"),
        help="The verdict in the answer it writes, or the likeliest one without reasoning (a model in this process).",
    )


def open_judge(
    model: ModelReference, answer: Answer, judging: PairJudging, calls: Calls, ledger: Ledger
) -> PairwiseJudge:
    """The judge that the options describe.

    Args:
        model ([`~her_hf.cli.options.ModelReference`]): Which model.
        answer ([`Answer`]): What form of answer, where it is not the checkpoint's.
        judging ([`~her_hf.judging.PairJudging`]): Everything else.
        calls ([`~her_hf.cli.options.Calls`]): How it is called.
        ledger ([`~her_hf.inference.Ledger`]): Where answers are kept.

    Raises:
        `ValueError`: If settings exclude each other, or the model cannot be opened.
        `FileNotFoundError`: If a folder or Hub id is not there.
    """
    from her_hf.judging import PairwiseJudge
    from her_hf.judging.pairwise.reward_model import trained_settings

    given = {name: value for name, value in asdict(judging).items() if name not in JUDGING.without}
    asked = asdict(answer)
    if answer.read == "probability":  # of the compact answer without reasoning; there is no other
        asked |= {"form": answer.form or "compact", "reasoning": False}
    settings = trained_settings(str(model.model), **given, **asked)
    return PairwiseJudge(calls.opener(ledger)(str(model.model), model.name, attach=False), settings)
