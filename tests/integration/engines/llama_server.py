"""Serves a GGUF with llama.cpp's server, in a virtual environment that has xllamacpp and nothing of ours.

Arguments: the model, and the file to which the server's address is written once it answers. It serves until it is
ended. Keys and values are cached in float32, so that a file of float32 weights computes in float32 throughout.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import xllamacpp


def main() -> None:
    """Serves the model."""
    model, note = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.port = 4096, 1, 0
    params.warmup, params.use_jinja = False, True
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    draft = Path(f"{note}.tmp")
    draft.write_text(server.listening_address)
    draft.rename(note)
    signal.pause()


if __name__ == "__main__":
    main()
