"""Token ids to text, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_BROKEN = "\ufffd"


class Detokenizer:
    """Decodes ids incrementally; the pieces add up to one text, which ends before the first stop text.

    Only the ids since the last settled position are decoded again, so time is linear. A piece that ends in half a
    character is held back until the rest arrives, and one that could begin a stop text until that is decided.

    Args:
        decode (`Callable[[Sequence[int]], str]`): Text of ids.
        stop (`Sequence[str]`, *optional*): Texts that end the reply.
    """

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, tuple(stop)
        self._ids: list[int] = []
        self._base = self._read = (
            0  # ids[base:read] is context whose text was returned, so that spaces are decoded correctly
        )
        self._waiting = ""
        self.text = ""
        self.stopped = False

    def feed(self, ids: Sequence[int], final: bool = False) -> str:
        """Takes more ids; returns the text that is settled by them."""
        self._ids.extend(ids)
        before = self._decode(self._ids[self._base : self._read])
        after = self._decode(self._ids[self._base :])
        if len(after) > len(before) and (final or not after.endswith(_BROKEN)):
            self._waiting += after[len(before) :]
            self._base, self._read = self._read, len(self._ids)
        return self._take(final)

    def _take(self, final: bool) -> str:
        if self.stopped:
            return ""
        ends = [at for at in (self._waiting.find(text) for text in self._stop) if at >= 0]
        if ends:
            self.stopped = True
            sure = min(ends)
        else:
            sure = len(self._waiting) - (0 if final else self._undecided())
        piece, self._waiting = self._waiting[:sure], self._waiting[sure:]
        self.text += piece
        return piece

    def _undecided(self) -> int:
        """Length of the longest suffix of the waiting text that is a prefix of a stop text."""
        return max(
            (size for text in self._stop for size in range(1, len(text)) if self._waiting.endswith(text[:size])),
            default=0,
        )
