"""Files of a base that knows more than text: what its own processor needs goes along with its weights.

HER is for text. A server that loads such a model asks for its processor all the same, be it only for text.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from her_hf.durable import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PROCESSOR = "processor_config.json"
COMPANIONS = ("preprocessor_config.json", "video_preprocessor_config.json", "audio_tokenizer_config.json")
"""Files of image, video and audio processors. Chat templates are no part of them: the tokenizer carries ours."""

_CLASS = "processor_class"


def knows_more_than_text(config: PreTrainedConfig) -> bool:
    """Whether the model reads images or sounds beside text."""
    return config.get_text_config() is not config


def companions_of(base: str | PathLike[str], revision: str | None = None) -> list[Path]:
    """The files of the base's own processor, on this machine; fetched if need be.

    Args:
        base (`str` or `PathLike`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.

    Returns:
        `list[Path]`: Those of [`COMPANIONS`] and the processor's settings that there are.

    Raises:
        `OSError`: If the Hub is asked and cannot be reached.
    """
    from transformers.utils import cached_file

    found = (
        cached_file(base, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        for name in (*COMPANIONS, PROCESSOR)
    )
    return [Path(file) for file in found if file is not None]


def copy_companions(files: Iterable[Path], out: str | PathLike[str]) -> None:
    """Copies [`companions_of`] a base into a checkpoint folder; what is there already wins.

    The processor's class stays ours, so that the checkpoint loads as what it is; the settings of the base's processor
    stand beside it, where its own class finds them.
    """
    for file in files:
        target = Path(out) / file.name
        if file.name != PROCESSOR:
            if not target.exists():
                shutil.copyfile(file, target)
            continue
        settings = {**read_json(file), **(read_json(target) if target.is_file() else {})}
        if settings.keys() - {_CLASS}:  # else it is the file of a text model
            write_json(target, settings)
