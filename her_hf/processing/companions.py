"""Processor files of a multimodal base, copied along with its weights.

HER is for text only, but a server that loads such a model needs its processor even for text.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from her_hf.durable import read_json, write_json

from .internals import optional_file

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PROCESSOR = "processor_config.json"
COMPANIONS = ("preprocessor_config.json", "video_preprocessor_config.json", "audio_tokenizer_config.json")
"""Files of image, video and audio processors, without chat templates: ours is in the tokenizer."""

_CLASS = "processor_class"


def knows_more_than_text(config: PreTrainedConfig) -> bool:
    """Whether the model is multimodal: reads images, video or audio as well as text."""
    return config.get_text_config() is not config


def companions_of(base: str | PathLike[str], revision: str | None = None) -> list[Path]:
    """Local paths of the files of the base's own processor, downloaded if necessary.

    Args:
        base (`str` or `PathLike`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.

    Returns:
        `list[Path]`: Those of [`COMPANIONS`] and the processor's settings that exist.

    Raises:
        `OSError`: If the Hub is needed and cannot be reached.
    """
    found = (optional_file(base, name, revision) for name in (*COMPANIONS, PROCESSOR))
    return [file for file in found if file is not None]


def copy_companions(files: Iterable[Path], out: str | PathLike[str]) -> None:
    """Copies the files of [`companions_of`] into a checkpoint folder; existing files and settings take precedence.

    The processor class stays ours, so that the checkpoint loads as one of HER; the settings of the base's processor
    are kept in the same file, where its own class finds them.
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
