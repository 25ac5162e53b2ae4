"""Secrets and home paths in text that is about to be published: where they are, never what they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

SHOWN = 8
"""How many findings an error lists."""

_PATTERNS: tuple[tuple[str, bytes, bytes], ...] = (
    ("a Hugging Face token", b"hf_", rb"\bhf_[A-Za-z0-9]{20,}"),
    ("a Hugging Face token", b"api_org_", rb"\bapi_org_[A-Za-z0-9]{20,}"),
    ("an API key", b"sk-", rb"(?<![A-Za-z0-9])sk-(?=[A-Za-z0-9_-]{0,99}[0-9])[A-Za-z0-9_-]{20,}"),
    ("an AWS key", b"AKIA", rb"\bAKIA[0-9A-Z]{16}\b"),
    ("an AWS key", b"ASIA", rb"\bASIA[0-9A-Z]{16}\b"),
    ("a GitHub token", b"gh", rb"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    ("a GitHub token", b"github_pat_", rb"\bgithub_pat_[A-Za-z0-9_]{30,}"),
    ("a Google key", b"AIza", rb"\bAIza[0-9A-Za-z_-]{35}"),
    ("a Slack token", b"xox", rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    ("a private key", b"PRIVATE KEY-----", rb"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY-----"),
    *(
        (
            "an Authorization header",
            hint,
            rb"""(?i)\bauthorization["']?\s{0,9}[:=]\s{0,9}["']?(bearer|basic)\s{1,9}[a-z0-9+/._~-]{12,}""",
        )
        for hint in (b"uthorization", b"UTHORIZATION")
    ),
    ("a home path", b"/home/", rb"(?<![\w.~-])/home/(?!user/)[\w.-]+/"),
    ("a home path", b"/Users/", rb"(?<![\w.~-])/Users/(?!user/)[\w.-]+/"),
    ("a home path", b"/root/", rb"(?<![\w.~-])/root/[\w.]"),
    ("a home path", b":\\", rb"(?i)\b[A-Z]:\\{1,2}Users\\{1,2}[\w.-]+\\"),
)
"""What is looked for: its kind, bytes that are in each, which are found fast, and the pattern. `/home/user/`, the home
of every Space, tells nothing and is allowed."""

_COMPILED = tuple((kind, hint, re.compile(pattern)) for kind, hint, pattern in _PATTERNS)
_PREFIX = 4
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_KEYS = ("HER_HF_API_KEY", "OPENAI_API_KEY")
_SNIFFED = 8192


class Finding(NamedTuple):
    """A place in a file.

    Args:
        file (`str`): Path in the repository.
        line (`int`): Line, from 1.
        kind (`str`): What it is.
        start (`str`): Its first characters, which do not reveal it.
    """

    file: str
    line: int
    kind: str
    start: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.kind} ({self.start}…)"


def find_secrets(name: str, source: Path | bytes, own: Iterable[str] = ()) -> Iterator[Finding]:
    """Finds tokens, keys and paths of a home folder in a text file; a binary file has none.

    Args:
        name (`str`): Path in the repository, for the findings.
        source (`Path` or `bytes`): The file, or its contents.
        own (`Iterable[str]`, *optional*): Further secrets, of any form, such as the token in use.

    Example:

    ```python
    >>> [str(found) for found in find_secrets("notes.txt", b"see\\n/home/ann/data/rows.jsonl")]
    ['notes.txt, line 2: a home path (/hom…)']
    ```
    """
    known = [word.encode() for word in own if len(word) >= 8]
    for number, line in enumerate(_lines(source), start=1):
        for word in known:
            if word in line:
                yield Finding(name, number, "a secret of this session", word[:3].decode())
        for kind, hint, pattern in _COMPILED:
            if hint in line and (found := pattern.search(line)):
                yield Finding(name, number, kind, found.group()[:_PREFIX].decode("utf-8", "replace"))


def own_secrets(token: str | None) -> list[str]:
    """The secrets of this session: the token in use, and keys in the environment.

    A key for a server of one's own is often a word such as `EMPTY` or `not-needed`: short ones, and those without a
    digit, are none.
    """
    tokens = [token, *map(os.environ.get, _TOKENS)]
    keys = [key for key in map(os.environ.get, _KEYS) if key and len(key) >= 16 and any(map(str.isdigit, key))]
    return [word for word in (*tokens, *keys) if word]


def _lines(source: Path | bytes) -> Iterable[bytes]:
    """Lines of a text; nothing for a binary file."""
    if isinstance(source, bytes):
        return [] if b"\0" in source[:_SNIFFED] else source.split(b"\n")
    return _file_lines(source)


def _file_lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        if b"\0" in stream.read(_SNIFFED):
            return
        stream.seek(0)
        yield from stream
