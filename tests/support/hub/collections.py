"""The endpoints of collections."""

from __future__ import annotations

from typing import Any

from tests.support.hub.answers import Answer, Call, answer_json
from tests.support.hub.store import Collection, HubError


def new_collection(call: Call) -> Answer:
    asked = call.json()
    found = call.store.new_collection(
        asked["title"],
        asked["namespace"],
        call.user,
        private=bool(asked.get("private")),
        description=asked.get("description"),
    )
    return answer_json(_collection(found))


def list_collections(call: Call) -> Answer:
    owner = call.query.get("owner")
    visible = [
        found
        for found in call.store.collections.values()
        if (not owner or found.owner == owner) and (not found.private or (call.user and call.user.owns(found.owner)))
    ]
    return answer_json(
        [{key: value for key, value in _collection(found).items() if key != "position"} for found in visible]
    )


def get_collection(call: Call) -> Answer:
    return answer_json(_collection(call.store.collection(call.groups["slug"], call.user)))


def add_item(call: Call) -> Answer:
    found = call.store.collection(call.groups["slug"], call.user, write=True)
    item = call.json()["item"]
    call.store.repository(item["type"], item["id"], call.user)
    if any((kind, name) == (item["type"], item["id"]) for kind, name, _ in found.items):
        raise HubError(409, "This item is already in the collection")
    found.items.append((item["type"], item["id"], call.json().get("note")))
    return answer_json(_collection(found))


def _collection(found: Collection) -> dict[str, Any]:
    items = [
        {
            **{"_id": f"{number:024x}", "id": name, "type": kind, "position": number},
            **({"note": {"text": note, "html": note}} if note else {}),
        }
        for number, (kind, name, note) in enumerate(found.items)
    ]
    return {
        **{"slug": found.slug, "title": found.title, "description": found.description, "private": found.private},
        **{"owner": {"name": found.owner, "type": "user"}, "items": items, "theme": "green", "upvotes": 0},
        **{"position": 0, "lastUpdated": "2026-01-01T00:00:00.000Z"},
    }
