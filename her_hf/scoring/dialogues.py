"""Judge-free figures of whole dialogues: those of replies, and use of what another character only thought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from her_hf.dual_layer import ENVIRONMENT
from her_hf.scenes import Scene, read_turn

from .leaks import known_secrets, spoken_thoughts
from .replies import ReplyScores, SampledReply


@dataclass(frozen=True)
class SampledDialogue:
    """One simulated dialogue.

    Args:
        replies (`Sequence[SampledReply]`): All turns in order, including those of Environment and of a user.
        scored (`frozenset[str]`, *optional*): Names of the characters to score; by default all except Environment.
        open_texts (`Sequence[str]`, *optional*): Texts known to all from the start: scenario, names, profiles.
        own_texts (`Mapping[str, Sequence[str]]`, *optional*): By name the texts known only to this character: its
            motivation.
    """

    replies: Sequence[SampledReply]
    scored: frozenset[str] | None = None
    open_texts: Sequence[str] = ()
    own_texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def is_scored(self, reply: SampledReply) -> bool:
        return reply.speaker != ENVIRONMENT if self.scored is None else reply.speaker in self.scored

    @classmethod
    def of_scene(cls, replies: Sequence[SampledReply], scene: Scene) -> SampledDialogue:
        """A dialogue that was simulated from a scene: portraits and backgrounds are open, motivations are not."""
        known = [text for one in scene.cast for text in (one.name, one.portrait, one.background)]
        own = {one.name: [one.motivation] for one in scene.cast if one.motivation}
        return cls(replies, open_texts=[scene.topic, scene.scenario, *known], own_texts=own)


class DialogueScores:
    """The figures of [`score_dialogues`] over dialogues that are added one at a time."""

    def __init__(self) -> None:
        self._dialogues = 0
        self._replies = ReplyScores()
        self._spoken = self._secret = self._either = 0

    @property
    def replies(self) -> int:
        """Replies that are scored."""
        return self._replies.total

    def add(self, dialogue: SampledDialogue) -> None:
        """Adds one dialogue."""
        self._dialogues += 1
        for reply in dialogue.replies:
            if dialogue.is_scored(reply):
                self._replies.add(reply)
        for spoken, secret in _leaks(dialogue):
            self._spoken += spoken
            self._secret += secret
            self._either += spoken or secret

    def figures(self) -> dict[str, object]:
        """See [`score_dialogues`].

        Raises:
            `ValueError`: If there is no reply to score.
        """
        if not self.replies:
            raise ValueError(
                f"score_dialogues needs at least one reply to score, got none in {self._dialogues} dialogues."
            )
        return {
            "dialogues": self._dialogues,
            **self._replies.figures(),
            "leak_rate": self._either / self.replies,
            "leaks": {
                "spoken_thoughts": self._spoken / self.replies,
                "known_secrets": self._secret / self.replies,
            },
        }


def score_dialogues(dialogues: Iterable[SampledDialogue]) -> dict[str, object]:
    """All judge-free figures of dialogues.

    Args:
        dialogues (`Iterable[SampledDialogue]`): Dialogues with at least one reply to score in total.

    Returns:
        `dict`: `dialogues` (count), and all of [`her_hf.scoring.replies.score_replies`] over the scored replies. Here
            `leak_rate` is the share of replies with a leak of either kind, and `leaks` has the share of each kind:
            `spoken_thoughts` (thinking leaked into speech) and `known_secrets` (another's thought was used), 0 to 1.

    Raises:
        `ValueError`: If there is no reply to score.
    """
    scores = DialogueScores()
    for dialogue in dialogues:
        scores.add(dialogue)
    return scores.figures()


def _leaks(dialogue: SampledDialogue) -> list[tuple[bool, bool]]:
    """For each scored reply whether its thinking is spoken, and whether it uses a secret."""
    turns = [read_turn(reply.text, reply.speaker, notation=reply.notation) for reply in dialogue.replies]
    secrets = known_secrets(turns, open_texts=dialogue.open_texts, own_texts=dialogue.own_texts)
    knowing = {secret.turn for secret in secrets}
    return [
        (bool(spoken_thoughts(reply.turn)), index in knowing)
        for index, reply in enumerate(dialogue.replies)
        if dialogue.is_scored(reply)
    ]
