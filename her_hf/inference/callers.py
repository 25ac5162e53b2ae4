"""Models as evaluations name them: one or several URLs of a server, a folder, or a Hub id."""

from __future__ import annotations

from collections.abc import Callable

from her_hf.inference import Caller, Ledger, Retries, is_url, open_model


def open_caller(
    spec: str,
    *,
    model: str | None = None,
    ledger: Ledger | None = None,
    concurrency: int = 16,
    timeout: float = 300.0,
    retries: Retries | None = None,
    attach: bool = True,
) -> Caller:
    """Opens a model behind a ledger.

    Args:
        spec (`str`): A server's URL, several URLs of one model parted by commas, a local folder or a Hub id.
        model (`str`, *optional*): Servers: which model to ask for; without it the only one they offer.
        ledger ([`~her_hf.inference.Ledger`], *optional*): Where answers are kept.
        concurrency (`int`, *optional*, defaults to 16): Most calls at once, over all servers.
        timeout (`float`, *optional*, defaults to 300): Servers: seconds that one call may take in all.
        retries ([`~her_hf.inference.Retries`], *optional*): What is done about failures that may pass.
        attach (`bool`, *optional*, defaults to `True`): See [`~her_hf.inference.open_model`].

    Returns:
        [`~her_hf.inference.Caller`]: No server is contacted before it is first asked.

    Raises:
        `ValueError`: If nothing is named, or a folder is named beside other models.
        `FileNotFoundError`: If a folder or Hub id is not there.
    """
    specs = [part.strip() for part in spec.split(",") if part.strip()]
    if not specs:
        raise ValueError("no model is named: give a server's URL, a folder or a Hub id")
    if len(specs) > 1 and not all(map(is_url, specs)):
        raise ValueError(f"several models are named, but not all by URL: {spec!r}. Only servers can share calls.")
    found = [open_model(part, model=model, timeout=timeout, attach=attach) for part in specs]
    return Caller(found, ledger=ledger, concurrency=concurrency, retries=retries)


def opener(
    ledger: Ledger, *, concurrency: int, timeout: float, retries: Retries | None = None
) -> Callable[..., Caller]:
    """[`open_caller`] for several roles of one run: a model that plays two of them is opened once.

    Args:
        ledger ([`~her_hf.inference.Ledger`]): Where answers are kept.
        concurrency (`int`): Most calls at once to each model.
        timeout (`float`): Servers: seconds that one call may take in all.
        retries ([`~her_hf.inference.Retries`], *optional*): What is done about failures that may pass.

    Returns:
        `Callable`: From a model's spec, its name on the server and `attach` (see [`open_caller`]) to its caller.
    """
    opened: dict[tuple[str, str | None, bool], Caller] = {}

    def open_one(spec: str, model: str | None = None, *, attach: bool = True) -> Caller:
        if (spec, model, attach) not in opened:
            opened[spec, model, attach] = open_caller(
                spec,
                attach=attach,
                model=model,
                ledger=ledger,
                concurrency=concurrency,
                timeout=timeout,
                retries=retries,
            )
        return opened[spec, model, attach]

    return open_one
