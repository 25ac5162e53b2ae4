"""Opening models by what the user typed: one or several URLs of a server, a folder or a Hub id."""

from __future__ import annotations

from collections.abc import Callable

from her_hf.settings import CONCURRENCY, TIMEOUT

from .caller import Caller, Retries
from .interface import ChatModel
from .ledger import Ledger


def is_url(spec: str) -> bool:
    """Whether this names a server."""
    return spec.startswith(("http://", "https://"))


def open_model(
    spec: str,
    *,
    model: str | None = None,
    window: int | None = None,
    timeout: float = TIMEOUT,
    device: str | None = None,
    dtype: str | None = None,
    attach: bool = True,
) -> ChatModel:
    """Opens a model for chat.

    Args:
        spec (`str`): An OpenAI-compatible URL (`http://host:8000/v1`), else a local folder or a Hub id.
        model (`str`, *optional*): Servers: name of the model; by default the only one of `/v1/models`.
        window (`int`, *optional*): Maximum tokens of prompt and reply together; by default that of the model.
        timeout (`float`, *optional*, defaults to 300): Servers: total seconds that one call may take.
        device (`str`, *optional*): In process: a torch device; by default the GPU if there is one.
        dtype (`str`, *optional*): In process: name of a torch dtype; by default the checkpoint's on a GPU, else
            float32.
        attach (`bool`, *optional*, defaults to `True`): In process: attach the HER template to a tokenizer without it.
            Judges and reward models use their own.

    Returns:
        `ChatModel`: A [`ServerModel`] or a [`LocalModel`]. A server is not contacted before its first call.

    Raises:
        `ValueError`: If `model` is given for a model in process, or the folder does not hold a chat model.
        `FileNotFoundError`: If the folder or Hub id does not exist.

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


def open_caller(
    spec: str,
    *,
    model: str | None = None,
    ledger: Ledger | None = None,
    concurrency: int = CONCURRENCY,
    timeout: float = TIMEOUT,
    retries: Retries | None = None,
    attach: bool = True,
) -> Caller:
    """Opens a model with a ledger.

    Args:
        spec (`str`): A server's URL, several URLs of one model separated by commas, a local folder or a Hub id.
        model (`str`, *optional*): Servers: name of the model; by default the only one they offer.
        ledger ([`Ledger`], *optional*): Stores answers.
        concurrency (`int`, *optional*, defaults to 16): Maximum number of calls in flight, over all servers.
        timeout (`float`, *optional*, defaults to 300): Servers: total seconds that one call may take.
        retries ([`Retries`], *optional*): How transient failures are retried.
        attach (`bool`, *optional*, defaults to `True`): See [`open_model`].

    Returns:
        [`Caller`]: No server is contacted before its first call.

    Raises:
        `ValueError`: If no model is named, or a folder is named together with other models.
        `FileNotFoundError`: If a folder or Hub id does not exist.
    """
    specs = [part.strip() for part in spec.split(",") if part.strip()]
    if not specs:
        raise ValueError("no model is named: give a server's URL, a folder or a Hub id")
    if len(specs) > 1 and not all(map(is_url, specs)):
        raise ValueError(
            f"several models are named, but not all by URL: {spec!r}. Only servers can share calls: name URLs only, "
            "or one folder or Hub id."
        )
    found = [open_model(part, model=model, timeout=timeout, attach=attach) for part in specs]
    return Caller(found, ledger=ledger, concurrency=concurrency, retries=retries)


def opener(
    ledger: Ledger, *, concurrency: int, timeout: float, retries: Retries | None = None
) -> Callable[..., Caller]:
    """[`open_caller`] for several roles of one run: a model that has two of them is opened once.

    Args:
        ledger ([`Ledger`]): Stores answers.
        concurrency (`int`): Maximum number of calls in flight to each model.
        timeout (`float`): Servers: total seconds that one call may take.
        retries ([`Retries`], *optional*): How transient failures are retried.

    Returns:
        `Callable`: Takes a model's spec, its name on the server and `attach`, returns its caller.
    """
    opened: dict[tuple[str, str | None, bool], Caller] = {}
    calls = {"ledger": ledger, "concurrency": concurrency, "timeout": timeout, "retries": retries}

    def open_one(spec: str, model: str | None = None, *, attach: bool = True) -> Caller:
        key = spec, model, attach
        if key not in opened:
            opened[key] = open_caller(spec, model=model, attach=attach, **calls)  # type: ignore[arg-type]
        return opened[key]

    return open_one
