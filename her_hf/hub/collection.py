"""Collections: repositories that belong together, on one page of the Hub."""

from __future__ import annotations

from huggingface_hub import HfApi

from .client import once, patiently


def add_to_collection(api: HfApi, name: str, repo_id: str, repo_type: str, *, private: bool) -> str:
    """Adds a repository to a collection of its owner, which is made if there is none of that name.

    Args:
        api (`HfApi`): The client.
        name (`str`): Title of the collection, or its slug (`owner/title-id`).
        repo_id (`str`): The repository.
        repo_type (`str`): The Hub's type.
        private (`bool`): Whether a new collection is private.

    Returns:
        `str`: Address of the collection.

    Raises:
        [`~her_hf.hub.client.HubError`]: If the Hub refuses or cannot be reached.
    """
    what = f"add {repo_id} to the collection {name!r} (the repository itself is pushed)"
    slug = name if "/" in name else _slug(api, name, repo_id.split("/")[0], what, private=private)
    patiently(what, api.add_collection_item, slug, repo_id, repo_type, exists_ok=True)
    return f"{api.endpoint}/collections/{slug}"


def _slug(api: HfApi, title: str, owner: str, what: str, *, private: bool) -> str:
    known = once(what, lambda: list(api.list_collections(owner=owner)))
    for one in known:
        if one.title == title:
            return one.slug
    return patiently(what, api.create_collection, title, namespace=owner, private=private, exists_ok=True).slug
