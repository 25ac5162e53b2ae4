"""Pulling a repository from the Hub into a folder, all of it or nothing."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from her_hf.durable import digest

from .checks import kind_problem
from .client import (
    WAITS,
    HubError,
    Kind,
    check_repo_id,
    explained,
    is_busy,
    once,
    open_api,
    patiently,
    pause,
    repo_type_of,
)

_CACHE = ".cache"  # where the Hub's client notes what it has downloaded into a folder
_SHOWN = 5


def pull(kind: Kind, repo_id: str, out: str | Path, *, revision: str | None = None, token: str | None = None) -> Path:
    """Downloads a repository into a folder, which is there whole or not at all; the same call again resumes.

    Until all files have arrived they lie in a hidden folder beside `out`, named after the commit.

    Args:
        kind (`str`): `"model"`, `"dataset"`, `"space"` or `"metric"`.
        repo_id (`str`): `owner/name`.
        out (`str` or `Path`): Folder to write; must be empty or new.
        revision (`str`, *optional*): Branch, tag or commit; the newest commit if not given.
        token (`str`, *optional*): Token; that of HF_TOKEN or of the login if not given.

    Returns:
        `Path`: The folder.

    Raises:
        `FileExistsError`: If `out` is not empty, or is the current folder.
        `ValueError`: If the repository is of another kind, or has names that no folder may have.
        [`~her_hf.hub.client.HubError`]: If the Hub refuses or cannot be reached, or if the disk is full; what has
            arrived stays for the next call.

    Example (not run: it needs the Hub):

    ```python
    >>> pull("model", "me/smollm2-135m-her-sft", "outputs/pulled")
    PosixPath('outputs/pulled')
    ```
    """
    repo_type, out = repo_type_of(kind), Path(out)
    check_repo_id(repo_id)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: name another one, or remove it")
    if out.resolve() == Path.cwd():
        raise FileExistsError(f"{out} is the folder you are in, and a pull makes the folder: name a new one")
    api = open_api(token, write=False)
    commit, files = _list(api, repo_id, repo_type, revision)
    if problem := kind_problem(kind, files, repo_id):
        raise ValueError(f"{repo_id} is {problem}. Nothing was pulled.")
    _check_names(repo_id, files)
    draft = out.parent / f".{out.name}.{digest([api.endpoint, repo_type, repo_id, commit])[:12]}.tmp"
    draft.mkdir(parents=True, exist_ok=True)
    _check_room(files, draft)
    _download(api, repo_id, repo_type, commit, draft)
    _check_whole(repo_id, files, draft)
    shutil.rmtree(draft / _CACHE, ignore_errors=True)
    if out.exists():
        out.rmdir()
    draft.rename(out)
    return out


def _list(api: HfApi, repo_id: str, repo_type: str, revision: str | None) -> tuple[str, dict[str, int]]:
    """The commit to pull, and its files with their sizes."""
    what = f"read {repo_id}" + (f" at {revision}" if revision else "")
    try:
        commit = str(patiently(what, api.repo_info, repo_id, repo_type=repo_type, revision=revision).sha)
        found = once(
            what, lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type=repo_type))
        )
    except RepositoryNotFoundError as error:
        raise HubError(
            f"There is no {repo_type} {repo_id} on the Hub, or it is private and your token may not read it: check "
            "name and kind, log in with `hf auth login`, or set HF_TOKEN"
        ) from error
    return commit, {entry.path: entry.size for entry in found if isinstance(entry, RepoFile)}


def _check_names(repo_id: str, files: dict[str, int]) -> None:
    for name in files:
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{repo_id} has a file whose name leads out of its folder ({name[:80]!r}): not pulled")
        if PurePosixPath(name).parts[0] == _CACHE:
            raise ValueError(f"{repo_id} has a folder {_CACHE}, which the Hub's client needs itself: not pulled")


def _check_room(files: dict[str, int], draft: Path) -> None:
    """Raises an error before a download that cannot fit on the disk."""
    needed = sum(size for name, size in files.items() if _size(draft / name) != size)
    free = shutil.disk_usage(draft).free
    if needed > free:
        raise _no_room(draft, f"{needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free")


def _download(api: HfApi, repo_id: str, repo_type: str, commit: str, draft: Path) -> None:
    what, left = f"download {repo_id}", f" What has arrived is in {draft}."
    for wait in (*WAITS, None):
        try:
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                revision=commit,
                local_dir=draft,
                token=api.token,
                endpoint=api.endpoint,
                library_name=api.library_name,
                library_version=api.library_version,
            )
            return
        except (HfHubHTTPError, httpx2.HTTPError) as error:
            if wait is None or not is_busy(error):
                raise HubError(f"{explained(error, what)}{left}") from error
            pause(error, wait)
        except (OSError, RuntimeError) as error:  # xet raises RuntimeError
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise _no_room(draft, "no space is left") from error
            if isinstance(error.__cause__, (HfHubHTTPError, httpx2.HTTPError)):  # the client says only: not found
                raise HubError(f"{explained(error.__cause__, what)}{left}") from error
            said = " ".join(str(error).split())[:300]
            raise HubError(f"Could not {what}: {said}.{left} Run the same command again.") from error


def _check_whole(repo_id: str, files: dict[str, int], draft: Path) -> None:
    """Raises an error if a file is missing or has another size; it is removed, so that it is downloaded again."""
    wrong = [name for name, size in files.items() if _size(draft / name) != size]
    for name in wrong:
        (draft / name).unlink(missing_ok=True)
    if wrong:
        raise HubError(
            f"{len(wrong)} of {len(files)} files of {repo_id} did not arrive whole ({', '.join(wrong[:_SHOWN])}). Run "
            f"the same command again; the others are in {draft}."
        )


def _no_room(draft: Path, said: str) -> HubError:
    return HubError(
        f"The disk of {draft.parent} is full ({said}). What has arrived is in {draft}: free space and run the same "
        "command again, or delete that folder."
    )


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
