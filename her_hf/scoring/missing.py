"""A missing judgement: recorded with its cause, counted, excluded from means, never given a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass

CAUSES = {
    "pair": "the two sides cannot be compared: one is empty, they are the same, or the context is missing",
    "dialogue": "the dialogue to be judged failed",
    "request": "the request failed, after all retries",
    "cut": "the answer ended early: at the token limit, or before its JSON was closed",
    "no_json": "the answer holds no JSON object that can be read, not even after a repair",
    "several": "the answer holds several JSON objects that differ, and none of them counts more",
    "wrong_keys": "the JSON does not have the keys that were asked for",
    "bad_value": "a value is out of range or of the wrong kind",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """The reason for a missing judgement.

    Args:
        cause (`str`): One of `CAUSES`.
        detail (`str`): What was received, for the user.

    Raises:
        `ValueError`: If the cause is unknown.
    """

    cause: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.cause not in CAUSES:
            raise ValueError(f"cause must be one of {sorted(CAUSES)}, got {self.cause!r}")

    def as_dict(self) -> dict[str, str]:
        """The values for JSON."""
        return asdict(self)
