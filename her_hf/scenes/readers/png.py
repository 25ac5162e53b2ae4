"""Text chunks of a PNG file, read without decoding the picture."""

from __future__ import annotations

import struct
import zlib

from ..errors import SceneError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_FILE = 64 * 1024 * 1024
"""Largest picture that is read, in bytes."""
MAX_CHUNK = 16 * 1024 * 1024
"""Largest text chunk that is read, in bytes."""


def text_chunks(data: bytes) -> dict[str, bytes]:
    """The uncompressed text chunks of a PNG file, by keyword.

    Compressed chunks are left alone: cards do not use them, and they can be bombs. Pixels are never decoded.

    Args:
        data (`bytes`): The whole file.

    Returns:
        `dict[str, bytes]`: Keyword to text; of several chunks of one keyword the last counts, as in other readers.

    Raises:
        `SceneError`: If it is no PNG file, or one that is cut short, damaged or too large.

    Source: PNG specification, 11.3.4.3 tEXt.
    """
    if not data.startswith(SIGNATURE):
        raise SceneError("is no PNG file.")
    if len(data) > MAX_FILE:
        raise SceneError(f"has {len(data):,} bytes; pictures over {MAX_FILE:,} bytes are not read.")
    found: dict[str, bytes] = {}
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise SceneError(f"ends inside a chunk at byte {at}; the file is cut short, get it again.")
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + length
        if end > len(data):
            raise SceneError(f"ends inside a chunk at byte {at}; the file is cut short, get it again.")
        if kind == b"tEXt":
            keyword, body = _text(data[at + 8 : end - 4], data[at + 4 : end - 4], data[end - 4 : end], at)
            found[keyword] = body
        if kind == b"IEND":
            break
        at = end
    return found


def _text(content: bytes, checked: bytes, checksum: bytes, at: int) -> tuple[str, bytes]:
    if len(content) > MAX_CHUNK:
        raise SceneError(f"has a text chunk of {len(content):,} bytes; those over {MAX_CHUNK:,} bytes are not read.")
    if zlib.crc32(checked) != struct.unpack(">I", checksum)[0]:
        raise SceneError(f"has a damaged text chunk at byte {at} (wrong checksum); get the file again.")
    keyword, _, body = content.partition(b"\0")
    return keyword.decode("latin-1"), body
