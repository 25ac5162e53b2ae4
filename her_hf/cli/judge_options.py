"""Options of a pairwise judge, shared by `her-hf judge` and `her-hf eval reward`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from her_hf.settings import setting

from .options import MODEL, Calls, Group, ModelReference

if TYPE_CHECKING:
    from her_hf.inference import Ledger
    from her_hf.judging import PairFile, PairJudging, PairwiseJudge

PANEL = "Asking the judge"
JUDGE = Group(
    PANEL,
    "model",
    required=("model",),
    help={"model": f"The judge: {MODEL}"},
)
JUDGING = Group(PANEL, without=("form", "reasoning", "read"))


@dataclass(frozen=True)
class Pairs:
    """The pairs to judge.

    Args:
        pairs (`str`): A JSONL file or a preference dataset.
        split (`str`, *optional*): Split of a preference dataset.
        scenes (`str`, *optional*): Scenes that provide the circumstances of a pair without any, by its `scene_key`.
        limit (`int`, *optional*): Only the first pairs.
    """

    pairs: str = setting(help="JSONL file of pairs, or a preference dataset (folder, Hub id).", metavar="SOURCE")
    split: str | None = setting(None, help="Split of a preference dataset; by default test.", metavar="NAME")
    scenes: str | None = setting(
        None,
        help="Scenes that provide the circumstances of pairs without any, by scene_key.",
        metavar="SOURCE",
    )
    limit: int | None = setting(None, help="Use only the first N pairs.", min=1, metavar="N")

    def read(self) -> PairFile:
        """All pairs, regardless of the limit; each is read when it is its turn.

        Raises:
            `FileNotFoundError`: If the file does not exist.
            `ValueError`: If no row is a pair, or the scenes cannot be read.
        """
        from her_hf.judging import PairFile
        from her_hf.scenes import load_scenes

        return PairFile(self.pairs, split=self.split, scenes=load_scenes(self.scenes) if self.scenes else ())


@dataclass(frozen=True)
class Answer:
    """The form of the answer, if it is not the one recorded in the checkpoint.

    Args:
        checkpoint (`str`, *optional*): The checkpoint behind a URL, which records the form.
        form (`str`, *optional*): See [`~her_hf.judging.PairJudging`].
        reasoning (`bool`, *optional*): See there.
        read (`str`, *optional*, defaults to `"text"`): See there.
    """

    checkpoint: str | None = setting(
        None,
        help="The checkpoint that a server serves: its reward_model.json says how to ask it.",
        metavar="FOLDER",
    )
    form: str | None = setting(
        None,
        choices=("published", "compact"),
        help="Form of prompt and answer: published or compact; by default that of the checkpoint. A URL without "
        "--checkpoint needs it.",
        metavar="FORM",
    )
    reasoning: bool | None = setting(
        None,
        help="Reason before the verdict; by default as in the checkpoint's reward_model.json, else yes.",
        off="answer immediately",
    )
    read: str = setting(
        "text",
        choices=("text", "probability"),
        help="Read the verdict from the generated answer, or from the probabilities of the verdicts.",
    )


def open_judge(
    model: ModelReference, answer: Answer, judging: PairJudging, calls: Calls, ledger: Ledger
) -> PairwiseJudge:
    """The judge that the options describe.

    Args:
        model ([`~her_hf.cli.options.ModelReference`]): The model.
        answer ([`Answer`]): The form of the answer, if it is not the checkpoint's.
        judging ([`~her_hf.judging.PairJudging`]): All other settings.
        calls ([`~her_hf.cli.options.Calls`]): How it is called.
        ledger ([`~her_hf.inference.Ledger`]): The ledger of answers.

    Raises:
        `ValueError`: If settings exclude each other, the form is not known, or the model cannot be opened.
        `FileNotFoundError`: If a folder or Hub id does not exist.
    """
    from her_hf.judging import PairwiseJudge
    from her_hf.judging.pairwise.reward_model import trained_settings

    given = {name: value for name, value in asdict(judging).items() if name not in JUDGING.without}
    asked = asdict(answer)
    if answer.read == "probability":  # only available for the compact answer without reasoning
        asked |= {"form": answer.form or "compact", "reasoning": False}
    settings = trained_settings(str(model.model), **given, **asked)
    return PairwiseJudge(calls.opener(ledger)(str(model.model), model.name, attach=False), settings)
