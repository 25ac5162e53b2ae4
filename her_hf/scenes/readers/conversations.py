"""Chat samples: conversations as message lists, without scenes behind them."""

from __future__ import annotations

from ..errors import SceneError
from ..fields import Row, needed_items, shown

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
"""Names of roles in the wild, and ours."""


def is_conversation(row: Row) -> bool:
    """Whether a row is a chat sample."""
    return "conversations" in row or "messages" in row


def read_conversation(row: Row) -> list[dict[str, str]]:
    """Reads one chat sample.

    Args:
        row (`dict`): `{"conversations": [{"from", "value"}]}` or `{"messages": [{"role", "content"}]}`.

    Returns:
        `list[dict]`: Messages with `role` (system, user, assistant) and `content`.

    Raises:
        `SceneError`: If a field is missing or wrong, or a role is unknown.

    Source: CoSER (ICML 2025), its SFT sample; HER-Dataset, configs `sft_multi_turn` and `sft_single_turn`.
    """
    key = "conversations" if "conversations" in row else "messages"
    return [_message(entry, f"{key}[{index}].") for index, entry in enumerate(needed_items(row, key))]


def _message(entry: Row, path: str) -> dict[str, str]:
    who, what = ("from", "value") if "from" in entry else ("role", "content")
    role, content = entry.get(who), entry.get(what)
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise SceneError(f"must be one of {sorted(ROLES)}, got {shown(role)}.", field=path + who)
    if not isinstance(content, str):
        raise SceneError(f"must be text, got {shown(content)}.", field=path + what)
    return {"role": ROLES[role.lower()], "content": content}
