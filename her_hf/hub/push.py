"""Pushing a folder to the Hub: a model, a dataset, a Space or a metric, with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError

from her_hf.durable import read_json

from .checks import CARD, check_folder, refuse_secrets
from .client import HubError, Kind, check_repo_id, open_api, patiently, repo_type_of
from .collection import add_to_collection
from .front_matter import split_card, title_of
from .listing import Listing, list_folder, read_text
from .secrets import own_secrets
from .upload import Remote, look, send
from .wheel import build_wheel, requires_her_hf, wheel_address, wheel_name, with_install_lines, with_wheel

_ADAPTER = "adapter_config.json"
_REQUIREMENTS = "requirements.txt"
_SHOWN = 8


@dataclass(frozen=True)
class Pushed:
    """A push, or what it would send.

    Args:
        address (`str`): Address of the repository.
        commit (`str`, *optional*): The commit that holds all files; `None` after a dry run.
        files (`dict[str, Path | bytes]`): All files of the push, by their path in the repository.
        sent (`list[str]`): Those that the repository lacked; empty after a dry run.
        left_out (`dict[str, str]`): Paths of the folder that are not sent, and why.
        notes (`list[str]`): What the user should know.
        collection (`str`, *optional*): Address of the collection.
    """

    address: str
    commit: str | None
    files: Mapping[str, Path | bytes]
    sent: list[str]
    left_out: Mapping[str, str]
    notes: list[str]
    collection: str | None = None


def push(
    kind: Kind,
    path: str | Path,
    repo_id: str,
    *,
    public: bool = False,
    collection: str | None = None,
    token: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    base: str | None = None,
) -> Pushed:
    """Checks a folder and sends it to the Hub; the same call again sends what is missing.

    The folder must be what it is pushed as, its card must state a licence, and no file may hold a token, a key or the
    path of a home folder. Checkpoints, drafts, logs, ledgers and settings of runs are left out. Everything travels in
    one commit, unless there are very many files.

    Args:
        kind (`str`): `"model"`, `"dataset"`, `"space"` or `"metric"`.
        path (`str` or `Path`): The folder.
        repo_id (`str`): `owner/name`, or a name of your own namespace. A metric's must end in the name of its script.
        public (`bool`, *optional*, defaults to `False`): Whether everybody may see the repository.
        collection (`str`, *optional*): Title or slug of a collection to add the repository to.
        token (`str`, *optional*): Token; that of HF_TOKEN or of the login if not given.
        message (`str`, *optional*): Message of the commit.
        dry_run (`bool`, *optional*, defaults to `False`): Only check and list; the Hub is not asked.
        force (`bool`, *optional*, defaults to `False`): Whether a repository with other contents may be overwritten.
        base (`str`, *optional*): Hub id of an adapter's base, which it then names instead of a local folder. If it is
            not known, the adapter names only the last part of the folder's path.

    Returns:
        [`Pushed`]: What was sent, and where it is.

    Raises:
        `ValueError`, `FileNotFoundError`: If the folder cannot be pushed as it is; nothing was sent.
        `FileExistsError`: If the repository holds something else; nothing was sent.
        [`~her_hf.hub.client.HubError`]: If the Hub refuses, or cannot be reached; the call can be repeated.

    Example (not run: it needs the Hub):

    ```python
    >>> push("model", "outputs/smollm2-135m-her-sft", "me/smollm2-135m-her-sft").address
    'https://huggingface.co/me/smollm2-135m-her-sft'
    ```
    """
    repo_type, folder = repo_type_of(kind), Path(path)
    check_repo_id(repo_id)
    listing = list_folder(folder)
    _rename_base(listing, base)
    check_folder(kind, listing, folder, repo_id)
    refuse_secrets(listing, folder, own_secrets(token or get_token()))
    api = open_api(token, write=not dry_run)
    if "/" not in repo_id:
        repo_id = f"OWNER/{repo_id}" if dry_run else f"{patiently('ask who you are', api.whoami)['name']}/{repo_id}"
    if repo_type == "space":
        _add_wheel(listing, api.endpoint, repo_id, public=public)
    address = _address(api, repo_id, repo_type)
    if dry_run:
        return Pushed(address, None, listing.files, [], listing.left_out, listing.notes)
    remote = _open_repository(api, repo_id, repo_type, listing, public=public, force=force)
    remote, sent = send(api, remote, listing.files, message or f"Push of a {kind} with her-hf")
    if extra := sorted(remote.files.keys() - listing.files.keys() - {".gitattributes"}):
        listing.notes.append(f"files there that this folder does not have, which stay: {_some(extra)}")
    if public and remote.private:
        patiently(
            f"make {repo_id} public (its files are pushed)",
            api.update_repo_settings,
            repo_id,
            private=False,
            repo_type=repo_type,
        )
    elif not public and not remote.private:
        listing.notes.append("the repository is public")
    place = collection and add_to_collection(api, collection, repo_id, repo_type, private=not public)
    return Pushed(address, remote.commit, listing.files, sent, listing.left_out, listing.notes, place)


def check_push_beforehand(repo_id: str, license: str | None, token: str | None) -> None:
    """Checks what would make the push at the end of a long run fail: the name, the licence, the token.

    Args:
        repo_id (`str`): The repository.
        license (`str`, *optional*): The licence that the card will state.
        token (`str`, *optional*): Token; that of HF_TOKEN or of the login if not given.

    Raises:
        `ValueError`: If the name is no id of a repository, or there is no licence.
        [`~her_hf.hub.client.HubError`]: If there is no token.
    """
    check_repo_id(repo_id)
    if not license:
        raise ValueError(
            "push_to_hub needs a license: the card of a pushed model states under which one it may be used. Set "
            "license (such as apache-2.0; it follows base and data), or leave push_to_hub out and push later with "
            "her-hf push model"
        )
    open_api(token, write=True)


def _open_repository(
    api: HfApi, repo_id: str, repo_type: str, listing: Listing, *, public: bool, force: bool
) -> Remote:
    """The repository to push to: a new one, or the one that is there if it holds an earlier push of this."""
    remote = look(api, repo_id, repo_type)
    if remote is not None:
        if not force:
            _refuse_another(api, remote, listing)
        return remote
    sdk = str(_front(listing)["sdk"]) if repo_type == "space" else None
    what = f"create the repository {repo_id}"
    try:
        patiently(
            what, api.create_repo, repo_id, repo_type=repo_type, private=not public, exist_ok=True, space_sdk=sdk
        )
    except RepositoryNotFoundError as error:
        raise HubError(f"Could not {what}: your token may not write there, or there is no such owner") from error
    try:
        remote = look(api, repo_id, repo_type)
    except HubError as error:
        raise HubError(f"{error} {repo_id} is there, without files.") from error
    if remote is None:
        raise HubError(f"{repo_id} was created, but the Hub does not show it: run the same command again")
    remote.new = True
    return remote


def _refuse_another(api: HfApi, remote: Remote, listing: Listing) -> None:
    """Raises an error if a push would overwrite files of a repository that holds something else.

    It holds the same if its card has the same title, and may be written to if it has no files but a card.
    """
    changed = remote.lacks(listing.files)
    overwritten = sorted(name for name in changed if name in remote.files and name != ".gitattributes")
    if remote.files.keys() <= {".gitattributes", CARD} or not changed:
        return
    there = None
    if CARD in remote.files:
        what = f"read the card of {remote.repo_id}"
        card = patiently(
            what, api.hf_hub_download, remote.repo_id, CARD, repo_type=remote.repo_type, revision=remote.commit
        )
        there = title_of(read_text(Path(card), CARD), f"{remote.repo_id}/{CARD}")
    here = title_of(read_text(listing.files[CARD], CARD), CARD)
    if there is not None and there == here:
        return
    named = f"is called {there!r}, not {here!r}" if there else "has no card with a title"
    lost = f" These files would be overwritten: {_some(overwritten)}." if overwritten else ""
    raise FileExistsError(
        f"{remote.repo_id} exists and {named}, so it may hold something else.{lost} Nothing was sent. Push to another "
        "name, or with --force."
    )


def _rename_base(listing: Listing, base: str | None) -> None:
    """Lets an adapter name its base by its Hub id, or by the last part of a path of this machine."""
    if _ADAPTER not in listing.files:
        return
    adapter = read_json(Path(str(listing.files[_ADAPTER])))
    named = base or (Path(adapter["base_model_name_or_path"]).name if _is_local(adapter) else None)
    if named is not None and named != adapter.get("base_model_name_or_path"):
        adapter["base_model_name_or_path"] = named
        listing.files[_ADAPTER] = json.dumps(adapter, indent=2).encode()
        listing.notes.append(f"{_ADAPTER} names the base as {named}")


def _is_local(adapter: Mapping[str, Any]) -> bool:
    """Whether an adapter names its base by a path of this machine."""
    named = adapter.get("base_model_name_or_path") or ""
    if not isinstance(named, str):
        raise ValueError(f"{_ADAPTER}: base_model_name_or_path must be a name or a path, got {str(named)[:80]}")
    return Path(named).is_absolute()


def _add_wheel(listing: Listing, endpoint: str, repo_id: str, *, public: bool) -> None:
    """Adds the wheel of her_hf to a Space that requires it, and its address to requirements, card and scripts."""
    if _REQUIREMENTS not in listing.files:
        return
    requirements = read_text(listing.files[_REQUIREMENTS], _REQUIREMENTS)
    if not requires_her_hf(requirements):
        return
    wheel, address = build_wheel(), wheel_address(endpoint, repo_id)
    listing.files[wheel_name()] = wheel
    listing.files[_REQUIREMENTS] = with_wheel(requirements, address, wheel).encode()
    for name in [name for name in listing.files if name == CARD or name.endswith(".py")]:
        text = read_text(listing.files[name], name)
        if (addressed := with_install_lines(text, address)) != text:
            listing.files[name] = addressed.encode()
    if not public:
        listing.notes.append(
            "the Space installs her_hf from its own address, which a private Space does not serve to its build: it "
            "will run once it is public (--public)"
        )


def _front(listing: Listing) -> dict[str, Any]:
    return split_card(read_text(listing.files[CARD], CARD), CARD)[0]


def _address(api: HfApi, repo_id: str, repo_type: str) -> str:
    prefix = "" if repo_type == "model" else f"{repo_type}s/"
    return f"{api.endpoint}/{prefix}{repo_id}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
