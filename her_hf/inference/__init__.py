"""Every model call goes through here: one small async interface, servers and transformers in process."""

from .interface import ChatModel, Message, Messages, ModelError, Prompt, Reply, Sampling, Usage
from .open import is_url, open_model

__all__ = [
    "ChatModel",
    "Message",
    "Messages",
    "ModelError",
    "Prompt",
    "Reply",
    "Sampling",
    "Usage",
    "is_url",
    "open_model",
]
