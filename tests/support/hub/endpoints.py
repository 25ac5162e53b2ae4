"""The endpoints of repositories that a Hub's Python clients ask, as functions from a request to an answer."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote

from tests.support.hub.answers import Answer, Call, answer_error, answer_json
from tests.support.hub.cards import check_card, front_matter
from tests.support.hub.store import MAX_REGULAR, Blob, Commit, HubError, Repository, is_lfs

PAGE = 1000
"""Entries of a tree in one answer."""


def whoami(call: Call) -> Answer:
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if call.user.writes else "read"
    orgs = [{"type": "org", "name": name, "roleInOrg": role} for name in call.user.organizations]
    access = {"displayName": "a token", "role": role}
    found = {"type": "user", "name": call.user.name, "isPro": False, "orgs": orgs}
    return answer_json({**found, "auth": {"type": "access_token", "accessToken": access}})


def registry(call: Call) -> Answer:
    """A list that the client fetches once a day to describe itself."""
    return answer_json({"standardEnvVars": [], "harnesses": {}})


def create(call: Call) -> Answer:
    asked = call.json()
    kind: Any = asked.get("type") or "model"
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    repo_id = f"{asked.get('organization') or call.user.name}/{asked['name']}"
    url = f"{call.base}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    try:
        call.store.create(kind, repo_id, call.user, private=private, sdk=asked.get("sdk"))
    except HubError as error:
        if error.status == 409:
            error.extra["url"] = url
        raise
    return answer_json({"url": url, "name": repo_id, "id": repo_id})


def delete(call: Call) -> Answer:
    asked = call.json()
    kind = asked.get("type") or "model"
    repo_id = f"{asked.get('organization') or (call.user.name if call.user else '')}/{asked['name']}"
    call.store.repository(kind, repo_id, call.user, write=True)
    del call.store.repositories[kind, repo_id]
    return Answer()


def settings(call: Call) -> Answer:
    found, asked = call.repository(write=True), call.json()
    if "visibility" in asked:
        found.private = asked["visibility"] == "private"
    return answer_json({"private": found.private})


def check_access(call: Call) -> Answer:
    call.repository(write=bool(call.groups.get("write")))
    return answer_json({})


def validate(call: Call) -> Answer:
    asked = call.json()
    errors, warnings = check_card(asked.get("repoType") or "model", asked["content"])
    lists = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return answer_json(lists, 400 if errors else 200)


def info(call: Call) -> Answer:
    found = call.repository()
    commit = found.at(call.groups.get("revision") or "main")
    card = commit.files.get("README.md")
    siblings = []
    for path, blob in sorted(commit.files.items()):
        entry: dict[str, Any] = {"rfilename": path}
        if call.query.get("blobs"):
            entry |= {"size": len(blob.content), "blobId": blob.oid} | ({"lfs": _lfs(blob)} if blob.lfs else {})
        siblings.append(entry)
    data = {
        **{"_id": hashlib.sha1(found.id.encode()).hexdigest()[:24], "id": found.id, "sha": commit.sha},
        **{"author": found.id.split("/")[0], "private": found.private, "gated": False, "disabled": False},
        **{"lastModified": commit.date, "createdAt": found.commits[0].date, "downloads": 0, "likes": 0, "tags": []},
        **{"siblings": siblings, "cardData": front_matter(card.content.decode()) if card else {}},
    }
    if found.kind == "model":
        data["modelId"] = found.id
    if found.kind == "space":
        data |= {"sdk": found.sdk, "runtime": {"stage": "BUILDING", "hardware": {}, "storage": None}}
    return answer_json(data)


def history(call: Call) -> Answer:
    found = call.repository()
    last = found.commits.index(found.at(call.groups["revision"]))
    return answer_json(
        [
            {
                **{"id": commit.sha, "title": commit.title, "message": commit.description, "date": commit.date},
                "authors": [{"user": commit.author}],
            }
            for commit in reversed(found.commits[: last + 1])
        ]
    )


def refs(call: Call) -> Answer:
    found = call.repository()
    branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.head.sha}
    tags = [
        {"name": name, "ref": f"refs/tags/{name}", "targetCommit": commit}
        for name, commit in sorted(found.tags.items())
    ]
    return answer_json({"branches": [branch], "tags": tags, "converts": []})


def tree(call: Call) -> Answer:
    commit = call.repository().at(call.groups["revision"])
    folder = call.groups.get("path") or ""
    entries = list(_entries(commit, folder, recursive=call.query.get("recursive", "").lower() in ("true", "1")))
    if folder and not entries:
        raise HubError(404, f"{folder} does not exist on {call.groups['revision']!r}", "EntryNotFound")
    start = int(call.query.get("cursor") or 0)
    more: dict[str, str] = {}
    if start + PAGE < len(entries):
        query = "&".join(f"{key}={quote(value)}" for key, value in call.query.items() if key != "cursor")
        here = (
            f"{call.base}/api/{call.groups['kind']}/{call.groups['id']}/tree/{quote(call.groups['revision'], safe='')}"
        )
        below = f"/{quote(folder, safe='')}" if folder else ""
        more = {"Link": f'<{here}{below}?{query}&cursor={start + PAGE}>; rel="next"'}
    return answer_json(entries[start : start + PAGE], headers=more)


def paths_info(call: Call) -> Answer:
    commit = call.repository().at(call.groups["revision"])
    if "json" in call.headers.get("content-type", ""):
        wanted = call.json()["paths"]
    else:
        wanted = parse_qs(call.body.decode()).get("paths", [])
    known = {entry["path"]: entry for entry in _entries(commit, "", recursive=True)}
    return answer_json([known[path] for path in wanted if path in known])


def preupload(call: Call) -> Answer:
    found, asked = call.repository(write=True), call.json()
    commit = found.at(call.groups["revision"])
    hosted = commit.files.get(".gitignore")
    ignored = asked.get("gitIgnore") or (hosted.content.decode() if hosted else "")
    patterns = [line.rstrip("/") for line in ignored.splitlines() if line.strip() and not line.startswith("#")]
    files = []
    for file in asked["files"]:
        path, now = file["path"], commit.files.get(file["path"])
        known = {"oid": now.etag} if now else {}
        skipped = any(fnmatch.fnmatch(part, pattern) for pattern in patterns for part in (path, *path.split("/")))
        mode = "lfs" if is_lfs(path, file["size"]) else "regular"
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": skipped, **known})
    return answer_json({"files": files, "commitOid": commit.sha})


def batch(call: Call) -> Answer:
    found, asked = call.repository(write=True), call.json()
    objects = []
    for entry in asked["objects"]:
        oid, size = entry["oid"], entry["size"]
        if oid in found.objects:
            objects.append({"oid": oid, "size": size})
            continue
        place = f"{call.base}/objects/{found.kind}s/{found.id}/{oid}"
        actions = {"upload": {"href": f"{place}?size={size}"}, "verify": {"href": f"{place}/verify"}}
        objects.append({"oid": oid, "size": size, "authenticated": True, "actions": actions})
    return answer_json({"transfer": "basic", "objects": objects})


def upload(call: Call) -> Answer:
    """The object itself: the address is signed on the Hub, so no token is asked for."""
    found = call.store.repositories[call.kind, call.groups["id"]]
    if hashlib.sha256(call.body).hexdigest() != call.groups["oid"] or len(call.body) != int(call.query["size"]):
        raise HubError(400, "The object is not the one that was announced")
    found.objects[call.groups["oid"]] = call.body
    return Answer()


def verify(call: Call) -> Answer:
    found, asked = call.repository(write=True), call.json()
    if asked["oid"] not in found.objects:
        raise HubError(404, "Object not found")
    return answer_json({})


def commit(call: Call) -> Answer:
    found = call.repository(write=True)
    writer = call.store.check_writer(call.user, found.id.split("/")[0])
    if call.query.get("create_pr"):
        raise HubError(400, "This stand-in takes no pull requests")
    if call.groups["revision"] != "main":
        raise HubError(404, f"Invalid rev id: {call.groups['revision']}", "RevisionNotFound")
    try:
        lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    except ValueError as error:
        raise HubError(400, f"Invalid NDJSON: {error}") from error
    if not lines or lines[0]["key"] != "header" or not lines[0]["value"].get("summary"):
        raise HubError(400, "A commit begins with a header that has a summary")
    changes = [_change(found, line["key"], line["value"]) for line in lines[1:]]
    made = call.store.apply(found, writer, lines[0]["value"], changes)
    place = "" if found.kind == "model" else f"{found.kind}s/"
    url = f"{call.base}/{place}{found.id}/commit/{made.sha}"
    return answer_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def resolve(call: Call) -> Answer:
    found = call.repository()
    at = found.at(call.groups["revision"])
    blob = at.files.get(call.groups["path"])
    headers = {"X-Repo-Commit": at.sha, "Accept-Ranges": "bytes"}
    if blob is None:
        missing = answer_error(HubError(404, "Entry not found", "EntryNotFound"))
        return Answer(404, missing.body, {**missing.headers, **headers})
    headers |= {"ETag": f'"{blob.etag}"', "Content-Type": "application/octet-stream"}
    if blob.lfs:
        headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.content))}
    return _ranged(blob.content, call.headers.get("range"), headers)


def _lfs(blob: Blob) -> dict[str, Any]:
    """How listings describe a large file; the one of `info` says sha256 where a tree says oid, and both are given."""
    sha = blob.sha256
    return {"oid": sha, "sha256": sha, "size": len(blob.content), "pointerSize": len(blob.pointer)}


def _entries(found: Commit, folder: str, *, recursive: bool) -> Iterable[dict[str, Any]]:
    """Files and folders under a folder, in order of their paths."""
    start = f"{folder.rstrip('/')}/" if folder else ""
    folders = set()
    for path, blob in sorted(found.files.items()):
        if not path.startswith(start):
            continue
        parts = path.removeprefix(start).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            name = start + "/".join(parts[:depth])
            if name not in folders:
                folders.add(name)
                yield {
                    "type": "directory",
                    "oid": hashlib.sha1(f"{found.sha}/{name}".encode()).hexdigest(),
                    "size": 0,
                    "path": name,
                }
        if recursive or len(parts) == 1:
            entry = {"type": "file", "oid": blob.oid, "size": len(blob.content), "path": path}
            yield {**entry, "lfs": _lfs(blob)} if blob.lfs else entry


def _change(found: Repository, key: str, value: Mapping[str, Any]) -> Callable[[dict[str, Blob]], None]:
    """What one line of a commit does to the files.

    Raises:
        `HubError`: If it cannot be done; then nothing of the commit is.
    """
    path = value["path"]
    if key == "file":
        try:
            content = base64.b64decode(value["content"], validate=True)
        except binascii.Error as error:
            raise HubError(400, f"{path} is not base64: {error}") from error
        if len(content) > MAX_REGULAR:
            raise HubError(400, f"{path} is larger than 10 MiB: it must be uploaded with LFS")
        if path == "README.md" and (errors := check_card(found.kind, content.decode())[0]):
            raise HubError(400, f"Invalid metadata in README.md: {errors[0]}")
        return partial(_add, path, Blob(content))
    if key == "lfsFile":
        if value["oid"] not in found.objects:
            raise HubError(400, f"LFS pointer of {path} pointed to a file that does not exist")
        return partial(_add, path, Blob(found.objects[value["oid"]], lfs=True))
    if key in ("deletedFile", "deletedFolder"):
        return partial(_delete, path.rstrip("/"), key == "deletedFolder")
    raise HubError(400, f"Unknown operation {key}")


def _add(path: str, blob: Blob, files: dict[str, Blob]) -> None:
    if any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in files):
        raise HubError(400, f"{path} is a file and a folder")
    files[path] = blob


def _delete(path: str, folder: bool, files: dict[str, Blob]) -> None:
    gone = [name for name in files if (name.startswith(f"{path}/") if folder else name == path)]
    if not gone:
        raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    for name in gone:
        del files[name]


def _ranged(content: bytes, wanted: str | None, headers: Mapping[str, str]) -> Answer:
    """The part of a file that a Range header asks for, or all of it."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if not found or not (found[1] or found[2]):
        return Answer(200, content, headers)
    size = len(content)
    start = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    end = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if start >= size:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
    return Answer(206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"})
