"""Opening a model by what the user typed: a URL, a folder or a Hub id."""

from __future__ import annotations

from .interface import ChatModel


def is_url(spec: str) -> bool:
    """Whether this names a server."""
    return spec.startswith(("http://", "https://"))


def open_model(
    spec: str,
    *,
    model: str | None = None,
    window: int | None = None,
    timeout: float = 300.0,
    device: str | None = None,
    dtype: str | None = None,
    attach: bool = True,
) -> ChatModel:
    """Opens a model for chat.

    Args:
        spec (`str`): An OpenAI-compatible URL (`http://host:8000/v1`), else a local folder or a Hub id.
        model (`str`, *optional*): Servers: which model to ask for; without it the only one of `/v1/models`.
        window (`int`, *optional*): Most tokens of prompt and reply together, if the model's own is not to be used.
        timeout (`float`, *optional*, defaults to 300): Servers: seconds that one call may take in all.
        device (`str`, *optional*): In process: a torch device; without it the GPU if there is one.
        dtype (`str`, *optional*): In process: a torch dtype name; without it the checkpoint's on a GPU, else float32.
        attach (`bool`, *optional*, defaults to `True`): In process: give a tokenizer without the HER template that
            template. Judges and reward models speak through their own.

    Returns:
        `ChatModel`: A [`ServerModel`] or a [`LocalModel`]. A server is not contacted before it is first asked.

    Raises:
        `ValueError`: If `model` is given for a model in process, or the folder cannot be chatted with.
        `FileNotFoundError`: If the folder or Hub id is not there.

    Example (not run: it needs a server):

    ```python
    >>> model = open_model("http://127.0.0.1:8000/v1")
    >>> reply = asyncio.run(model.chat([{"role": "user", "content": "===Conversation Start==="}]))
    ```
    """
    if is_url(spec):
        from .openai import ServerModel

        return ServerModel(spec, model=model, window=window, timeout=timeout)
    if model is not None:
        raise ValueError(f"A model name ({model!r}) goes with a server's URL, but {spec!r} is a folder or Hub id.")
    from .local import LocalModel

    return LocalModel.load(spec, window=window, device=device, dtype=dtype, attach=attach)
