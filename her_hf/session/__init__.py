"""One conversation: history, regenerate, edit, save, events. Shared by the terminal and the Space."""

from her_hf.inference.window import WindowFull

from .conversation import Session
from .events import Delta, Drafted, Event, Failed, Trimmed, TurnFinished, TurnStarted
from .history import Alternative
from .limits import Limits
from .typed import read_typed
from .views import AUTHOR, viewed_turn

__all__ = [
    "AUTHOR",
    "Alternative",
    "Delta",
    "Drafted",
    "Event",
    "Failed",
    "Limits",
    "Session",
    "Trimmed",
    "TurnFinished",
    "TurnStarted",
    "WindowFull",
    "read_typed",
    "viewed_turn",
]
