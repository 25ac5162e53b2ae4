"""Which request goes to which endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tests.support.hub import collections, endpoints
from tests.support.hub.answers import Answer, Call


@dataclass(frozen=True)
class Route:
    """An endpoint: the name that faults and the journal know it by, its method and the pattern of its path."""

    step: str
    method: str
    pattern: re.Pattern[str]
    answer: Callable[[Call], Answer]


_REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
_GIT = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch"
_OBJECT = r"/objects/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"
_FILE = rf"/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)/(?:resolve|raw)/{_REVISION}/(?P<path>.+)"
_SLUG = r"/api/collections/(?P<slug>[^/]+/[^/]+)"

_TABLE: tuple[tuple[str, str, str, Callable[[Call], Answer]], ...] = (
    ("whoami", "GET", r"/api/whoami-v2", endpoints.whoami),
    ("registry", "GET", r"/api/agent-harnesses", endpoints.registry),
    ("create", "POST", r"/api/repos/create", endpoints.create),
    ("delete", "DELETE", r"/api/repos/delete", endpoints.delete),
    ("settings", "PUT", rf"{_REPO}/settings", endpoints.settings),
    ("access", "GET", rf"{_REPO}/auth-check(?P<write>/write)?", endpoints.check_access),
    ("validate", "POST", r"/api/validate-yaml", endpoints.validate),
    ("info", "GET", rf"{_REPO}(?:/revision/{_REVISION})?", endpoints.info),
    ("history", "GET", rf"{_REPO}/commits/{_REVISION}", endpoints.history),
    ("refs", "GET", rf"{_REPO}/refs", endpoints.refs),
    ("tree", "GET", rf"{_REPO}/tree/{_REVISION}(?:/(?P<path>.+))?", endpoints.tree),
    ("paths", "POST", rf"{_REPO}/paths-info/{_REVISION}", endpoints.paths_info),
    ("preupload", "POST", rf"{_REPO}/preupload/{_REVISION}", endpoints.preupload),
    ("batch", "POST", _GIT, endpoints.batch),
    ("upload", "PUT", _OBJECT, endpoints.upload),
    ("verify", "POST", rf"{_OBJECT}/verify", endpoints.verify),
    ("commit", "POST", rf"{_REPO}/commit/{_REVISION}", endpoints.commit),
    ("head", "HEAD", _FILE, endpoints.resolve),
    ("file", "GET", _FILE, endpoints.resolve),
    ("new collection", "POST", r"/api/collections", collections.new_collection),
    ("collections", "GET", r"/api/collections", collections.list_collections),
    ("collection", "GET", _SLUG, collections.get_collection),
    ("add item", "POST", rf"{_SLUG}/items?", collections.add_item),
)
ROUTES = tuple(Route(step, method, re.compile(pattern), answer) for step, method, pattern, answer in _TABLE)


def route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The endpoint of a request, and the decoded parts of its path; `None` for what this Hub does not have."""
    for found in ROUTES:
        if found.method == method and (match := found.pattern.fullmatch(path)):
            return found, {name: unquote(text) for name, text in match.groupdict().items() if text is not None}
    return None
