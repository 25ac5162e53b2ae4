"""Every model call goes through here: one small async interface, servers and transformers in process."""

from .caller import Caller, Retries, Spent
from .interface import (
    AccessRefused,
    ChatModel,
    Continues,
    Message,
    Messages,
    ModelError,
    Prompt,
    Reply,
    Sampling,
    Schema,
    Usage,
)
from .ledger import Ledger
from .open import is_url, open_caller, open_model

__all__ = [
    "AccessRefused",
    "Caller",
    "ChatModel",
    "Continues",
    "Ledger",
    "Message",
    "Messages",
    "ModelError",
    "Prompt",
    "Reply",
    "Retries",
    "Sampling",
    "Schema",
    "Spent",
    "Usage",
    "is_url",
    "open_caller",
    "open_model",
]
