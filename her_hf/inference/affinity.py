"""Which of several servers gets a call: the calls of one scene and character go to one server, for its prefix cache.

A server that has read a prompt keeps it for a while and reads only what is new of a longer one. The calls for one
character of one scene begin with the same system message, and each repeats the conversation of the one before. Spread
over the servers, each of them reads all of it; kept on one server, it is read once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import takewhile

from her_hf.durable import digest

from .interface import Messages

SLACK = 1.25
"""How many times its equal share of the calls in flight a server may get before a call goes to another one."""


def conversation_key(messages: Messages) -> str:
    """What the calls of one scene and character have in common: a digest of the system messages at the beginning.

    Args:
        messages (`Messages`): A conversation; without a system message its first message counts.

    Returns:
        `str`: The same for all turns of one character in one scene.

    Example:

    ```python
    >>> scene = {"role": "system", "content": "You are Jo. The bread is burnt."}
    >>> conversation_key([scene]) == conversation_key([scene, {"role": "user", "content": "Meg: Tea?"}])
    True
    ```
    """
    system = list(takewhile(lambda message: message.get("role") in ("system", "developer"), messages))
    return digest([dict(message) for message in system or messages[:1]])


def choose(
    key: str, names: Sequence[str], busy: Sequence[int], resting: Sequence[bool], last: int | None = None
) -> int:
    """The server for a call: the one that has its conversation, unless that one rests or has too much to do.

    Every key has its own order of the servers (rendezvous hashing): the same in every run and process, whatever the
    order in which they are named, and a server more or less moves only the keys that it gets or had. A server takes
    at most [`SLACK`] times its share of the calls in flight, so that one scene that everybody asks for cannot leave
    the others idle (consistent hashing with bounded loads, Mirrokni et al. 2016, arXiv:1608.01350). The server that
    answered the last call of the key comes first: its cache has the newest turns.

    Args:
        key (`str`): See [`conversation_key`].
        names (`Sequence[str]`): The servers; no two have one name.
        busy (`Sequence[int]`): How many calls each is answering.
        resting (`Sequence[bool]`): Whether it has just failed; such a one is chosen only if all have.
        last (`int`, *optional*): Index of the server that got the last call of this key.

    Returns:
        `int`: Index of the server.
    """
    usable = [at for at, rests in enumerate(resting) if not rests] or list(range(len(names)))
    most = math.ceil(SLACK * (sum(busy[at] for at in usable) + 1) / len(usable))
    order = sorted(usable, key=lambda at: (at == last, _score(key, names[at])), reverse=True)
    return next(at for at in order if busy[at] < most)


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, with a number for each repetition: several backends in one process have one name."""
    return [name if (nth := names[:at].count(name)) == 0 else f"{name} {nth + 1}" for at, name in enumerate(names)]


def _score(key: str, name: str) -> bytes:
    return hashlib.sha256(f"{key} {name}".encode("utf-8", "surrogatepass")).digest()
