"""Sending files to a repository: what is missing there, in as few commits as can be, none of them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from .client import WAITS, HubError, explained, is_busy, once, patiently, pause
from .listing import size_of

COMMIT_FILES = 256
"""Files of one commit; the Hub cuts off commits that take long."""

COMMIT_BYTES = 100 * 2**20
"""Bytes of one commit that travel inside its request: those of files below [`LARGE`]."""

LARGE = 10 * 2**20
"""Larger files are uploaded by themselves, before the commit, which only names them."""

_SHOWN = 5

Files = Mapping[str, Path | bytes]


@dataclass
class Remote:
    """A repository as it is on the Hub.

    Args:
        repo_id (`str`): `owner/name`.
        repo_type (`str`): The Hub's type.
        commit (`str`): Its newest commit.
        private (`bool`): Whether only its owner sees it.
        files (`dict[str, RepoFile]`): Its files.
        new (`bool`, *optional*, defaults to `False`): Whether it was made for this push.
    """

    repo_id: str
    repo_type: str
    commit: str
    private: bool
    files: dict[str, RepoFile] = field(default_factory=dict)
    new: bool = False

    def lacks(self, files: Files) -> dict[str, Path | bytes]:
        """Those of `files` that are not there with the same contents."""
        return {name: source for name, source in files.items() if not _same(self.files.get(name), source)}


def look(api: HfApi, repo_id: str, repo_type: str) -> Remote | None:
    """A repository with its files; `None` if there is none, or the token may not see it.

    Raises:
        [`~her_hf.hub.client.HubError`]: If the Hub refuses or cannot be reached.
    """
    what = f"look at {repo_id} on the Hub"
    try:
        info = patiently(what, api.repo_info, repo_id, repo_type=repo_type)
        commit = str(info.sha)
        found = once(
            what, lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type=repo_type))
        )
    except RepositoryNotFoundError:
        return None
    files = {entry.path: entry for entry in found if isinstance(entry, RepoFile)}
    return Remote(repo_id, repo_type, commit, bool(info.private), files)


def send(api: HfApi, remote: Remote, files: Files, message: str) -> tuple[Remote, list[str]]:
    """Sends what the repository lacks of `files`, in one commit if their number and size allow.

    A commit that was applied although its answer was lost is recognised; a commit by somebody else in between is an
    error.

    Args:
        api (`HfApi`): The client.
        remote ([`Remote`]): The repository as it is.
        files (`Mapping[str, Path | bytes]`): Path in the repository, and the file or its contents.
        message (`str`): Message of the commit; of several, each says which it is.

    Returns:
        `tuple[Remote, list[str]]`: The repository afterwards, and the paths that were sent.

    Raises:
        [`~her_hf.hub.client.HubError`]: If the Hub refuses or cannot be reached; the same call sends what is missing.
    """
    missing = remote.lacks(files)
    if not missing:
        return remote, []
    batches = list(_batches(missing))
    done, left = 0, f" {remote.repo_id} is there, without files." if remote.new else ""
    for number, batch in enumerate(batches, start=1):
        part = f"{message} (part {number} of {len(batches)})" if len(batches) > 1 else message
        remote = _commit(api, remote, batch, part, left)
        done += len(batch)
        left = f" {done} of {len(missing)} files are there."
    if absent := remote.lacks(missing):
        raise HubError(
            f"{remote.repo_id} does not hold {_some(absent)} after the commit: a .gitignore there may exclude them, "
            "or somebody changed them meanwhile. Look at the repository, then run the same command again."
        )
    return remote, list(missing)


def _commit(api: HfApi, remote: Remote, batch: Files, message: str, left: str) -> Remote:
    """One commit on top of `remote`; returns the repository with it. `left` says what is there without it."""
    what = f"commit to {remote.repo_id}"
    for wait in (*WAITS, None):
        try:
            api.create_commit(
                remote.repo_id,
                [CommitOperationAdd(name, source) for name, source in batch.items()],
                commit_message=message,
                repo_type=remote.repo_type,
                parent_commit=remote.commit,
            )
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as raised:
            error = _request_error(raised)
            if error is None:  # the card is not valid, or a file cannot be read
                kind = ValueError if isinstance(raised, ValueError) else HubError
                raise kind(f"Could not {what}: {' '.join(str(raised).split())}{left}") from raised
            now = _look_again(api, remote, "Whether the commit arrived is not known.")
            if now.commit != remote.commit:
                if now.lacks(batch):
                    raise HubError(
                        f"Could not {what}: somebody else changed it meanwhile. Look at it, then run the same command "
                        "again: what has arrived is not sent twice."
                    ) from error
                return now  # it was applied, only its answer was lost
            if wait is None or not is_busy(error) or _was_repeated(error):
                raise HubError(f"{explained(error, what)}{left}") from error
            pause(error, wait)
        else:
            return _look_again(api, remote, "The commit itself is done.")
    raise AssertionError("unreachable")


def _request_error(raised: Exception) -> HfHubHTTPError | httpx2.HTTPError | None:
    """The failed request behind an error of `create_commit`; `None` if no request failed.

    The client wraps what failed while a large file was uploaded, and reads the answer about the card as JSON before
    its status, also where something before the Hub answered in HTML.
    """
    if isinstance(raised, (HfHubHTTPError, httpx2.HTTPError)):
        return raised
    if isinstance(raised, JSONDecodeError):
        return httpx2.RemoteProtocolError("the answer about the card is not JSON")
    cause = raised.__cause__ if isinstance(raised, RuntimeError) else None
    return cause if isinstance(cause, (HfHubHTTPError, httpx2.HTTPError)) else None


def _was_repeated(error: HfHubHTTPError | httpx2.HTTPError) -> bool:
    """Whether the client repeated the request itself, as it does with all of a push but the commit and the card."""
    try:
        address = str(error.response.url if isinstance(error, HfHubHTTPError) else error.request.url)
    except RuntimeError:  # made here, of the answer about the card
        return False
    return "/commit/" not in address and "/validate-yaml" not in address


def _look_again(api: HfApi, remote: Remote, known: str) -> Remote:
    """The repository after an attempt to commit; `known` says what is known of that, if the Hub does not answer."""
    try:
        found = look(api, remote.repo_id, remote.repo_type)
    except HubError as error:
        raise HubError(f"{error} {known}") from error
    if found is None:
        raise HubError(f"{remote.repo_id} is no longer on the Hub, or your token may no longer see it")
    return found


def _batches(files: Files) -> Iterator[dict[str, Path | bytes]]:
    """The commits: the card first, whose form the Hub checks before anything is sent."""
    batch: dict[str, Path | bytes] = {}
    inside = 0
    for name, source in sorted(files.items(), key=lambda one: (one[0] != "README.md", one[0])):
        size = size_of(source)
        size = size if size < LARGE else 0
        if batch and (len(batch) == COMMIT_FILES or inside + size > COMMIT_BYTES):
            yield batch
            batch, inside = {}, 0
        batch[name] = source
        inside += size
    yield batch


def _same(there: RepoFile | None, source: Path | bytes) -> bool:
    """Whether the repository's file has these contents; read only if the sizes agree."""
    if there is None:
        return False
    size = size_of(source)
    if there.lfs is not None:
        return there.lfs.size == size and there.lfs.sha256 == _digest(source, hashlib.sha256())
    return there.size == size and there.blob_id == _digest(source, hashlib.sha1(b"blob %d\0" % size))


def _digest(source: Path | bytes, digest: hashlib._Hash) -> str:
    if isinstance(source, bytes):
        digest.update(source)
        return digest.hexdigest()
    with source.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _some(names: Mapping[str, object]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")
