"""The Hub's client: kinds of repositories, patience with a busy server, and errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from her_hf import __version__

Kind = Literal["model", "dataset", "space", "metric"]
"""What is pushed and pulled; a metric is a Space that `evaluate.load` reads."""

KINDS: tuple[Kind, ...] = get_args(Kind)

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts; the last attempt comes after the last wait."""

_BUSY = (429, 500, 502, 503, 504)
_LONGEST = 60.0
_SHOWN = 300

Found = TypeVar("Found")


class HubError(OSError):
    """The Hub refused, or could not be reached."""


def repo_type_of(kind: str) -> str:
    """The Hub's type of a kind.

    Raises:
        `ValueError`: If the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"the kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return "space" if kind == "metric" else kind


def check_repo_id(repo_id: str) -> None:
    """Checks the form of `owner/name`.

    Raises:
        `ValueError`: If it is no id of a repository.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"the repository must be owner/name on the Hub, got {repo_id[:120]!r}") from error


def open_api(token: str | None, *, write: bool) -> HfApi:
    """The client, with the token given, that of HF_TOKEN or that of the login.

    Args:
        token (`str`, *optional*): Token; that of the environment or the login if not given.
        write (`bool`): Whether something will be written, for which a token is required.

    Raises:
        [`HubError`]: If there is no token to write with.
    """
    token = token or get_token()
    if write and not token:
        raise HubError(
            "There is no token to write to the Hub with: log in with `hf auth login`, or set HF_TOKEN to a token of "
            "https://huggingface.co/settings/tokens that may write"
        )
    return HfApi(token=token, library_name="her_hf", library_version=__version__)


def is_busy(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.ProxyError)


def patiently(what: str, call: Callable[..., Found], *given: Any, **named: Any) -> Found:
    """Calls the Hub; repeats a call that a busy server or a torn connection failed.

    Only for calls that can be repeated without harm.

    Args:
        what (`str`): What the call does, for the error: `"list the files of me/model"`.
        call (`Callable`): A method of the client.
        *given, **named: Its arguments.

    Raises:
        [`HubError`]: If the Hub refuses, or still cannot be reached after the last attempt.
        `RepositoryNotFoundError`: As it is, because callers distinguish it.
    """
    for wait in (*WAITS, None):
        try:
            return call(*given, **named)
        except RepositoryNotFoundError:
            raise
        except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled) as error:
            if wait is None or not is_busy(error):
                raise explained(error, what) from error
            pause(error, wait)
    raise AssertionError("unreachable")


def once(what: str, call: Callable[[], Found]) -> Found:
    """Calls the Hub with a call that its client repeats itself, such as a list in pages; raises as [`patiently`]."""
    try:
        return call()
    except RepositoryNotFoundError:
        raise
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled) as error:
        raise explained(error, what) from error


def pause(error: Exception, wait: float) -> None:
    """Waits as long as the server asks for, or `wait` seconds."""
    asked = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    time.sleep(min(float(asked), _LONGEST) if asked.isdigit() else wait)


def explained(error: Exception, what: str) -> HubError:
    """The error of a call in one line: what failed, what the Hub said, and what to do."""
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"Could not {what}: HF_HUB_OFFLINE is set. Unset it, or do without the Hub.")
    if not isinstance(error, HfHubHTTPError):
        return HubError(
            f"Could not {what}: the Hub could not be reached ({type(error).__name__}: {_short(str(error))}). Run the "
            "same command again: it goes on where this one stopped."
        )
    status = error.response.status_code
    said = _short(error.server_message or error.response.reason_phrase)
    return HubError(f"Could not {what}: the Hub said {status} ({said}). {_REMEDIES.get(status, _AGAIN)}")


_AGAIN = "Run the same command again: it goes on where this one stopped."
_REMEDIES = {
    401: "Your token is not valid, or there is none: log in with `hf auth login`, or set HF_TOKEN.",
    402: "It needs a paid account: static Spaces are free, Gradio Spaces are not.",
    403: (
        "Your token may not do this: to write, it needs that right for this owner's repositories; to read a gated "
        "repository, its terms must be accepted."
    ),
    404: "There is no such repository or revision, or your token may not see it.",
    409: "It conflicts with what is there: look at the repository, then run the same command again.",
    413: "A file is too large.",
}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
