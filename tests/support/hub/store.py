"""What a stand-in Hub holds: repositories with their commits, objects of large files, collections. All in memory."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

Kind = Literal["model", "dataset", "space"]

LFS = ("safetensors", "parquet", "bin", "pt", "arrow", "gguf", "npz", "zip", "gz", "png", "jpg", "webp", "model")
"""Endings that the Hub keeps outside git, by the `.gitattributes` it writes into a new repository."""
MAX_REGULAR = 10 * 1024**2
"""Largest file in git, in bytes."""


class HubError(Exception):
    """What the Hub refuses.

    Args:
        status (`int`): Status of the answer.
        message (`str`): What it says.
        code (`str`, *optional*): Its X-Error-Code.
        extra (`Mapping`, *optional*): Further fields of the body.
    """

    def __init__(self, status: int, message: str, code: str = "", extra: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, dict(extra or {})


@dataclass(frozen=True)
class User:
    """Somebody with a token.

    Args:
        name (`str`): Name of the user.
        writes (`bool`, *optional*, defaults to `True`): Whether the token may write.
        organizations (`Sequence[str]`, *optional*): Further namespaces.
    """

    name: str
    writes: bool = True
    organizations: Sequence[str] = ()

    def owns(self, namespace: str) -> bool:
        return namespace in (self.name, *self.organizations)


@dataclass(frozen=True)
class Blob:
    """One version of a file."""

    content: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def oid(self) -> str:
        """The git id: that of the content, or of the pointer that git keeps in its place."""
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        head = "version https://git-lfs.github.com/spec/v1"
        return f"{head}\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A commit: all files as they are after it."""

    sha: str
    title: str
    description: str
    author: str
    date: str
    files: Mapping[str, Blob]


@dataclass
class Repository:
    """A repository: its branch main, and names for further commits."""

    kind: Kind
    id: str
    private: bool
    sdk: str | None = None
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    @property
    def files(self) -> dict[str, bytes]:
        """The files of main."""
        return {path: blob.content for path, blob in self.head.files.items()}

    def at(self, revision: str) -> Commit:
        """The commit that a revision names.

        Raises:
            `HubError`: If there is none.
        """
        if revision == "main":
            return self.head
        wanted = self.tags.get(revision, revision)
        for commit in self.commits:
            if commit.sha == wanted:
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(
        self, files: Mapping[str, Blob], title: str, author: str, *, description: str = "", parent: str | None = None
    ) -> Commit:
        """Adds a commit whose tree is `files`.

        Raises:
            `HubError`: If `parent` is given and is no longer the last commit.
        """
        before = self.head.sha if self.commits else ""
        if parent is not None and parent != before:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        date = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        tree = "\n".join(f"{blob.oid} {path}" for path, blob in sorted(files.items()))
        sha = hashlib.sha1(f"{before}\n{self.id}\n{title}\n{date}\n{len(self.commits)}\n{tree}".encode()).hexdigest()
        self.commits.append(Commit(sha, title, description, author, date, dict(files)))
        return self.head


@dataclass
class Collection:
    """A collection: its items are (type, id) with an optional note."""

    slug: str
    title: str
    owner: str
    private: bool
    description: str | None
    items: list[tuple[str, str, str | None]] = field(default_factory=list)


class Store:
    """All that a Hub holds. One lock: a commit is applied whole or not at all, as on the Hub.

    Args:
        users (`Mapping[str, User]`): Who has which token.
    """

    def __init__(self, users: Mapping[str, User]) -> None:
        self.users = dict(users)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.collections: dict[str, Collection] = {}
        self.lock = threading.RLock()

    def repository(self, kind: str, repo_id: str, user: User | None, *, write: bool = False) -> Repository:
        """A repository that `user` may see, or write to.

        Raises:
            `HubError`: If there is none, it is private, or the token does not write there.
        """
        found = self.repositories.get((kind, repo_id))
        seen = found and (not found.private or (user and user.owns(repo_id.split("/")[0])))
        if not found or not seen:
            status, message = (404, "Repository not found") if user else (401, "Invalid username or password.")
            raise HubError(status, message, "RepoNotFound")
        if write:
            self.check_writer(user, repo_id.split("/")[0])
        return found

    def check_writer(self, user: User | None, namespace: str) -> User:
        """Whoever may write under a namespace.

        Raises:
            `HubError`: If the token is missing, only reads, or belongs to somebody else.
        """
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if not user.writes:
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if not user.owns(namespace):
            raise HubError(403, f'You don\'t have the rights to create a repo under the namespace "{namespace}"')
        return user

    def create(self, kind: Kind, repo_id: str, user: User | None, *, private: bool, sdk: str | None) -> Repository:
        """A new repository with the first commit that the Hub makes for it.

        Raises:
            `HubError`: If the name is taken, or the token does not write there.
        """
        writer = self.check_writer(user, repo_id.split("/")[0])
        if (kind, repo_id) in self.repositories:
            raise HubError(409, f"You already created this {kind} repo")
        if kind == "space" and not sdk:
            raise HubError(400, '"sdk" is required')
        found = Repository(kind, repo_id, private, sdk)
        lines = [f"*.{ending} filter=lfs diff=lfs merge=lfs -text" for ending in LFS]
        files = {".gitattributes": Blob("\n".join([*lines, ""]).encode())}
        if kind == "space":
            card = f"---\ntitle: {repo_id.split('/')[1]}\nsdk: {sdk}\n---\n\nA new Space.\n"
            files["README.md"] = Blob(card.encode())
        found.commit(files, "initial commit", writer.name)
        self.repositories[kind, repo_id] = found
        return found

    def apply(
        self,
        found: Repository,
        user: User,
        header: Mapping[str, str],
        changes: Sequence[Callable[[dict[str, Blob]], None]],
    ) -> Commit:
        """Makes one commit of all changes, or none."""
        files = dict(found.head.files)
        for change in changes:
            change(files)
        return found.commit(
            files,
            header["summary"],
            user.name,
            description=header.get("description", ""),
            parent=header.get("parentCommit"),
        )

    def new_collection(
        self, title: str, namespace: str, user: User | None, *, private: bool, description: str | None
    ) -> Collection:
        """A new collection.

        Raises:
            `HubError`: If the owner has one of that title, or the token does not write there.
        """
        writer = self.check_writer(user, namespace)
        number = hashlib.sha1(f"{writer.name}/{title}".encode()).hexdigest()[:24]
        slug = f"{namespace}/{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{number}"
        if slug in self.collections:
            raise HubError(409, "This collection already exists", extra={"slug": slug})
        self.collections[slug] = Collection(slug, title, namespace, private, description)
        return self.collections[slug]

    def collection(self, slug: str, user: User | None, *, write: bool = False) -> Collection:
        """A collection that `user` may see, or change.

        Raises:
            `HubError`: If there is none, it is private, or the token does not write there.
        """
        found = self.collections.get(slug)
        if not found or (found.private and not (user and user.owns(found.owner))):
            raise HubError(404, "Collection not found")
        if write:
            self.check_writer(user, found.owner)
        return found

    def put(self, kind: Kind, repo_id: str, files: Mapping[str, bytes], *, private: bool = False) -> Commit:
        """Commits without a request: what a test starts from, or what somebody else does meanwhile."""
        owner = replace(User(repo_id.split("/")[0]), writes=True)
        with self.lock:
            found = self.repositories.get((kind, repo_id)) or self.create(
                kind, repo_id, owner, private=private, sdk="gradio" if kind == "space" else None
            )
            blobs = {path: Blob(content, is_lfs(path, len(content))) for path, content in files.items()}
            found.objects |= {blob.sha256: blob.content for blob in blobs.values() if blob.lfs}
            return found.commit({**found.head.files, **blobs}, "Somebody else's commit", owner.name)


def is_lfs(path: str, size: int) -> bool:
    """Whether the Hub keeps a file outside git."""
    return size > MAX_REGULAR or path.rpartition(".")[2] in LFS
