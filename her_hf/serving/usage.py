"""How a server is called, for the user to copy."""

from __future__ import annotations

import json
import shlex

from .launch import Launch

_MESSAGES = [
    {"role": "system", "content": "You are Jo from Little Women."},
    {"role": "user", "content": "===Conversation Start===\n\nMeg: Tea?"},
]


def how_to_call(launch: Launch) -> dict[str, str]:
    """Ways to call a server: `her-hf chat`, curl, and Python with the package openai.

    Args:
        launch ([`Launch`]): The server.

    Returns:
        `dict[str, str]`: Text to run, by the name of the way.
    """
    body = json.dumps({"model": launch.model, "messages": _MESSAGES}, ensure_ascii=False)
    address = f"{launch.url}/chat/completions"
    return {
        "her-hf": f"her-hf chat {shlex.quote(launch.url)}",
        "curl": f"curl {shlex.quote(address)} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        "Python": "\n".join(
            [
                "from openai import OpenAI",
                f"client = OpenAI(base_url={launch.url!r}, api_key='none')",
                f"messages = {_MESSAGES!r}",
                f"answer = client.chat.completions.create(model={launch.model!r}, messages=messages)",
                "message = answer.choices[0].message",
                f"print(getattr(message, {launch.reasoning!r}, None))  # system thinking",
                "print(message.content)",
            ]
        ),
    }
