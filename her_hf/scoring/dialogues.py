"""Judge-free figures of whole dialogues: those of replies, and use of what another character only thought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from her_hf.dual_layer import ENVIRONMENT
from her_hf.scenes import Scene, read_turn

from .leaks import known_secrets, spoken_thoughts
from .replies import SampledReply, score_replies


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


def score_dialogues(dialogues: Sequence[SampledDialogue]) -> dict[str, object]:
    """All judge-free figures of dialogues.

    Args:
        dialogues (`Sequence[SampledDialogue]`): Dialogues with at least one reply to score in total.

    Returns:
        `dict`: `dialogues` (count), and all of [`her_hf.scoring.replies.score_replies`] over the scored replies. Here
            `leak_rate` is the share of replies with a leak of either kind, and `leaks` has the share of each kind:
            `spoken_thoughts` (thinking leaked into speech) and `known_secrets` (another's thought was used), 0 to 1.

    Raises:
        `ValueError`: If there is no reply to score.
    """
    replies = [reply for dialogue in dialogues for reply in dialogue.replies if dialogue.is_scored(reply)]
    if not replies:
        raise ValueError(f"score_dialogues needs at least one reply to score, got none in {len(dialogues)} dialogues.")
    kinds = [kind for dialogue in dialogues for kind in _leaks(dialogue)]
    spoken, secret = (sum(column) / len(replies) for column in zip(*kinds, strict=True))
    return {
        "dialogues": len(dialogues),
        **score_replies(replies),
        "leak_rate": sum(map(any, kinds)) / len(replies),
        "leaks": {"spoken_thoughts": spoken, "known_secrets": secret},
    }


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
