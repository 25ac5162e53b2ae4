"""llama.cpp's server out of the package xllamacpp, which has no command of its own.

Run by the Python of the environment that has it, without her_hf: only the standard library and xllamacpp are imported.
The arguments are those of llama-server.
"""

from __future__ import annotations

import argparse
import signal


def main() -> None:
    """Serves until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--ctx-size", type=int, default=0)
    wanted = parser.parse_args()

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = wanted.model
    params.hostnames, params.port = [wanted.host], wanted.port
    params.model_alias, params.n_ctx, params.use_jinja = {wanted.alias}, wanted.ctx_size, True
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
