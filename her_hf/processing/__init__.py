"""Chat templates, HERProcessor, and the rows that the trainer gets from a conversation.

Importing this package registers [`HERProcessor`] with `AutoProcessor`.
"""

from .attach import attach_tokenizer
from .checkpoint import attach_model
from .embeddings import check_embeddings
from .processor import HERProcessor
from .roles import take_any_roles

__all__ = ["HERProcessor", "attach_model", "attach_tokenizer", "check_embeddings", "take_any_roles"]
