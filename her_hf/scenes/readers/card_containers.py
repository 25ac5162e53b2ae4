"""Character cards embedded in other files: PNG images and CHARX archives."""

from __future__ import annotations

import base64
import json
import lzma
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ForeignData, SceneError, listed
from ..fields import shown
from .png import MAX_CHUNK, SIGNATURE, TextChunk, read_chunk, text_chunks
from .tavern import is_card

CHUNKS = ("ccv3", "chara")
"""Keywords of PNG text chunks with a card, preferred one first."""
ZIP = b"PK\x03\x04"
CARD_FILE = "card.json"
"""The card in a CHARX archive."""

_BLANK = re.compile(rb"[\s\0=]+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+")


def card_in_png(path: Path) -> dict[str, Any]:
    """The card in a PNG image.

    The first readable text chunk (plain or compressed, keywords in any case) is used: V3 before V2, and of several
    with one keyword the last. Other chunks are ignored, even if they are damaged or very large.

    Args:
        path (`Path`): The image.

    Returns:
        `dict`: The card's JSON.

    Raises:
        `ForeignData`: If it is an image without a card, or truncated before one.
        `SceneError`: If none of its cards can be read.

    Source: Character Card V2 and V3 specifications (text chunks `chara` and `ccv3`, base64 of JSON).
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise SceneError("is not a PNG file.")
        chunks, whole = text_chunks(file, CHUNKS)
        problem: SceneError | None = None
        for chunk in sorted(reversed(chunks), key=lambda chunk: CHUNKS.index(chunk.keyword)):
            try:
                return _card(file, chunk)
            except SceneError as error:
                problem = problem or error
    if problem is not None:
        raise problem
    if not whole:
        raise ForeignData("is a truncated image without a character card; download it again if it should have one.")
    raise ForeignData(f"is an image without a character card: it has no text chunk {' or '.join(CHUNKS)}.")


def card_in_zip(path: Path) -> dict[str, Any]:
    """The card in a CHARX archive; its assets are ignored.

    Raises:
        `ForeignData`: If it is an archive without a card.
        `SceneError`: If it cannot be read.

    Source: Character Card V3 specification, CHARX.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            name = next((name for name in names if name.lower() == CARD_FILE), None)
            if name is None:
                raise ForeignData(f"is a zip archive without {CARD_FILE}: it has {listed(names, 8) or 'no files'}.")
            with archive.open(name) as file:
                content = file.read(MAX_CHUNK + 1)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
        raise SceneError(f"is not a readable zip archive ({error}); export the card again.") from error
    if len(content) > MAX_CHUNK:
        raise SceneError(f"has more than the maximum of {MAX_CHUNK:,} bytes; shorten the card.", field=CARD_FILE)
    return _object(content, CARD_FILE)


def _card(file: BinaryIO, chunk: TextChunk) -> dict[str, Any]:
    """Decodes a card; tools wrap the base64, omit padding, use the URL-safe alphabet, or append a NUL."""
    text = _BLANK.sub(b"", read_chunk(file, chunk)).replace(b"-", b"+").replace(b"_", b"/")
    if not _BASE64.fullmatch(text) or len(text) % 4 == 1:
        got = "empty" if not text else f"{len(text):,} characters, {shown(text[:40])}"
        raise SceneError(f"is not base64 of a JSON card, got {got}; export the card again.", field=chunk.keyword)
    card = _object(base64.b64decode(text + b"=" * (-len(text) % 4)), chunk.keyword)
    if not is_card(card):
        raise SceneError(f"is JSON but not a card: it has {sorted(card)}.", field=chunk.keyword)
    return card


def _object(content: bytes, field: str) -> dict[str, Any]:
    try:
        card = json.loads(content)
    except RecursionError as error:
        raise SceneError("is JSON nested too deep to be read; remove the nested field.", field=field) from error
    except ValueError as error:
        raise SceneError(f"is not a JSON card ({error}); export the card again.", field=field) from error
    if not isinstance(card, dict):
        raise SceneError(f"must be a JSON object, got {shown(card)}.", field=field)
    return card
