"""Text chunks of a PNG file, read and written without decoding the image.

Pillow also reads these three kinds, but it rejects an image with an invalid chunk before the pixels, decodes the
pixels to reach the chunks after them, and inflates at most 1 MiB (a process-wide limit), which a card with a large
lorebook exceeds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import SceneError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK = 16 * 1024 * 1024
"""Maximum bytes of a text, compressed and inflated."""
MAX_KEYWORD = 79

_KINDS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class TextChunk:
    """The position of a text chunk.

    Args:
        keyword (`str`): Its keyword, in lower case.
        kind (`bytes`): `tEXt`, `zTXt` or `iTXt`.
        at (`int`): Offset of its content.
        length (`int`): Bytes of its content.
    """

    keyword: str
    kind: bytes
    at: int
    length: int


def text_chunks(file: BinaryIO, keywords: Collection[str]) -> tuple[list[TextChunk], bool]:
    """Finds the text chunks with the given keywords; all other chunks are skipped without being read.

    Args:
        file (`BinaryIO`): A PNG file, seekable.
        keywords (`Collection[str]`): In lower case; in the file, case does not matter.

    Returns:
        `tuple[list[TextChunk], bool]`: The chunks in order, and whether the file is complete (has an end chunk).

    Source: PNG specification, 11.3.3 (textual information).
    """
    found: list[TextChunk] = []
    at = len(SIGNATURE)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return found, False
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return found, True
        if kind in _KINDS:
            keyword = file.read(min(length, MAX_KEYWORD + 1)).partition(b"\0")[0].decode("latin-1").lower()
            if keyword in keywords:
                found.append(TextChunk(keyword, kind, at + 8, length))
        at += 12 + length


def read_chunk(file: BinaryIO, chunk: TextChunk) -> bytes:
    """The text of a chunk.

    Raises:
        `SceneError`: If it is truncated, damaged, or larger than [`MAX_CHUNK`].
    """
    if chunk.length > MAX_CHUNK:
        raise _problem(chunk, f"has {chunk.length:,} bytes, more than the maximum of {MAX_CHUNK:,}; shorten the card.")
    file.seek(chunk.at)
    content, checksum = file.read(chunk.length), file.read(4)
    if len(content) < chunk.length or len(checksum) < 4:
        raise _problem(chunk, "is truncated, as the file ends within it; download the file again.")
    if zlib.crc32(chunk.kind + content) != struct.unpack(">I", checksum)[0]:
        raise _problem(chunk, f"is damaged (wrong checksum at byte {chunk.at}); download the file again.")
    body = content.partition(b"\0")[2]
    match chunk.kind:
        case b"zTXt":
            return _inflated(chunk, body[:1], body[1:])
        case b"iTXt":
            parts = body[2:].split(b"\0", 2)  # language, translated keyword, text
            if len(body) < 2 or len(parts) < 3:
                raise _problem(chunk, "is not a complete iTXt chunk; export the card again.")
            return _inflated(chunk, body[1:2], parts[2]) if body[0] else parts[2]
    return body


def with_text(image: bytes, texts: Mapping[str, bytes], without: Collection[str]) -> bytes:
    """A PNG with text chunks right after its header, and without those that it has with the keywords `without`.

    Raises:
        `SceneError`: If the image is truncated.
    """
    parts, at, ended = [SIGNATURE], len(SIGNATURE), False
    while not ended:
        if at + 12 > len(image):
            raise SceneError("is a truncated PNG file; download it again.")
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        content = image[at + 8 : at + 8 + length]
        replaced = kind in _KINDS and content.partition(b"\0")[0].decode("latin-1").lower() in without
        if not replaced:
            parts.append(image[at : at + 12 + length])
        if kind == b"IHDR":
            parts += [_chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text) for keyword, text in texts.items()]
        ended, at = kind == b"IEND", at + 12 + length
    return b"".join(parts)


def blank_png(width: int = 400, height: int = 600) -> bytes:
    """A grey image, for a card without a picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))


def _inflated(chunk: TextChunk, method: bytes, data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_CHUNK + 1) if method == b"\0" else b""
    except zlib.error as error:
        raise _problem(chunk, f"cannot be inflated ({error}); export the card again.") from error
    if len(text) > MAX_CHUNK:
        raise _problem(chunk, f"inflates to more than the maximum of {MAX_CHUNK:,} bytes; shorten the card.")
    if not inflater.eof:
        raise _problem(chunk, "is not a complete zlib stream as PNG requires; export the card again.")
    return text


def _problem(chunk: TextChunk, problem: str) -> SceneError:
    return SceneError(problem, field=chunk.keyword)
