"""HERProcessor: a tokenizer with the method's templates, and the parsing of its model's replies."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

from transformers import AutoProcessor, PreTrainedConfig, ProcessorMixin

from her_hf.dual_layer import Turn, TurnStream

from .attach import attach_tokenizer
from .frames import find_frame
from .response import generation_config, write_generation_config
from .templates import SCENE, training_template

if TYPE_CHECKING:
    import torch
    from transformers import BatchEncoding, GenerationConfig, PreTrainedTokenizerBase

    Ids: TypeAlias = Sequence[int] | torch.Tensor

_OPENING = "<system_thinking>"


class HERProcessor(ProcessorMixin):  # type: ignore[misc]
    """Chat template, parsing and defaults of dual-layer role-play, for text only.

    A folder written by [`~HERProcessor.save_pretrained`] works without this package too: `AutoTokenizer` loads the
    same template, and `tokenizer.parse_response` uses the same rules.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): An attached tokenizer; see [`~HERProcessor.attach`].
        chat_template (`str` or `dict[str, str]`, *optional*): Replaces the tokenizer's templates; accepted because
            `from_pretrained` may pass it.

    Raises:
        `ValueError`: If the tokenizer does not have the HER template and response template.

    Example (not run: it needs a model):

    ```python
    >>> processor = HERProcessor.attach("HuggingFaceTB/SmolLM2-135M-Instruct")
    >>> prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    >>> processor.parse_turn("Ann stalls.\\n</system_thinking>\\nAnn: Tea?", prefix=prompt).pattern
    'S'
    ```
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str | dict[str, str] | None = None) -> None:
        super().__init__(tokenizer, chat_template=chat_template)
        templates = self.tokenizer.chat_template
        if not isinstance(templates, dict) or SCENE not in templates or not self.tokenizer.response_template:
            raise ValueError(
                f"{tokenizer.name_or_path or 'this tokenizer'} does not have the HER chat template, scene prompt and "
                "response template. Create the processor with HERProcessor.attach(tokenizer)."
            )
        self.frame, _ = find_frame(self.tokenizer)

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """The tokenizer's templates, which are stored in one place."""
        return self.tokenizer.chat_template if hasattr(self, "tokenizer") else self.__dict__.get("_given_template")

    @chat_template.setter
    def chat_template(self, template: str | dict[str, str] | None) -> None:
        if hasattr(self, "tokenizer"):
            self.tokenizer.chat_template = template

    @classmethod
    def attach(
        cls, base: PreTrainedTokenizerBase | HERProcessor | str | PathLike[str], *, bare_prefill: bool = False
    ) -> HERProcessor:
        """Gives a base the HER chat template, response template and scene prompt.

        Args:
            base (`PreTrainedTokenizerBase`, `HERProcessor`, `str` or `PathLike`): A tokenizer (it is not changed), a
                local folder or a Hub id, with a chat template of one of [`~her_hf.processing.frames.FRAMES`].
            bare_prefill (`bool`, *optional*, defaults to `False`): Open replies with `<system_thinking>` without a
                newline, for the released HER-32B.

        Returns:
            `HERProcessor`: The processor of the new checkpoint.

        Raises:
            `ValueError`: If the base cannot be loaded, has no chat template or one of another style, or no end-of-turn
                token.
        """
        return cls(attach_tokenizer(base, bare_prefill=bare_prefill))

    def __call__(self, text: str | list[str], **kwargs: Any) -> BatchEncoding:
        """Tokenizes text; arguments as for the tokenizer."""
        return self.tokenizer(text, **kwargs)

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """The tokenizer's `apply_chat_template`, with the tokenizer's defaults (those of `ProcessorMixin` differ).

        Asked for `return_assistant_tokens_mask`, it renders the template's training form, which has the marks.
        """
        if kwargs.get("return_assistant_tokens_mask"):
            kwargs["chat_template"] = training_template(self.tokenizer.get_chat_template(kwargs.get("chat_template")))
        return self.tokenizer.apply_chat_template(conversation, *args, **kwargs)

    def scene_prompt(self, **variables: Any) -> str:
        """Renders the scene prompt of the checkpoint.

        Args:
            **variables: The variables named at the top of the template, and `language` (`"en"` or `"zh"`).

        Returns:
            `str`: Text for the system message.

        Example (not run: it needs a model):

        ```python
        >>> processor.scene_prompt(character="Ann", book="The Mill", scenario="A kitchen at night.")
        ```
        """
        message = [{"role": "system", "content": ""}]  # the tokenizer requires a message; this template reads none
        rendered: str = self.tokenizer.apply_chat_template(message, chat_template=SCENE, tokenize=False, **variables)
        return rendered.strip()

    def stream(self, *, prefix: str | Ids, speaker: str | None = None, names: Sequence[str] = ()) -> TurnStream:
        """A parser for a reply that is being generated.

        Args:
            prefix (`str` or token ids): The prompt. It shows whether system thinking is already open; text of the
                reply that is part of the prompt is in the turn, but not among the events. `""` for a whole turn.
            speaker (`str`, *optional*): Who should speak; another label is an issue.
            names (`Sequence[str]`, *optional*): The cast; if given, only these and Environment are labels.

        Returns:
            `TurnStream`: Feed it with the text up to the end-of-turn token.

        Raises:
            `ValueError`: If the prompt does not end in an open turn of the assistant.
        """
        prefilled = self._prefilled(self._text(prefix))
        if prefilled.strip() == _OPENING:
            return TurnStream(prefilled=True, speaker=speaker, names=names)
        stream = TurnStream(prefilled=False, speaker=speaker, names=names)
        stream.feed(prefilled)
        return stream

    def parse_turn(
        self, reply: str | Ids, *, prefix: str | Ids, speaker: str | None = None, names: Sequence[str] = ()
    ) -> Turn:
        """Reads a generated reply.

        Args:
            reply (`str` or token ids): What the model wrote after the prompt, read up to the end-of-turn token.
            prefix (`str` or token ids): The prompt; see [`~HERProcessor.stream`].
            speaker (`str`, *optional*): Who should speak; another label is an issue.
            names (`Sequence[str]`, *optional*): The cast; if given, only these and Environment are labels.

        Returns:
            `Turn`: The turn, of any reply; [`~HERProcessor.is_ended`] returns whether the reply was ended.

        Raises:
            `ValueError`: If the prompt does not end in an open turn of the assistant.
        """
        stream = self.stream(prefix=prefix, speaker=speaker, names=names)
        stream.feed(self._until_end(self._text(reply)))
        return stream.close()

    def is_ended(self, reply: str | Ids) -> bool:
        """Whether the end-of-turn token ended the reply, so that it was not truncated or stopped by another token."""
        text = self._text(reply)
        return text.startswith(self.frame.turn_end, len(self._until_end(text)))

    def generation_config(self, base: GenerationConfig | None = None) -> GenerationConfig:
        """Generation defaults of the checkpoint, for `model.generation_config`; see [`generation_config`]."""
        return generation_config(self.tokenizer, self.frame, base)

    def save_pretrained(
        self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Saves tokenizer, templates, response template and generation defaults.

        Args:
            save_directory (`str` or `PathLike`): Folder; created if it is missing.
            push_to_hub (`bool`, *optional*, defaults to `False`): Whether to upload it as well.
            **kwargs: Options of the upload, as in transformers (`repo_id`, `commit_message`, …).

        Returns:
            `list[str]`: The processor files written.
        """
        files: list[str] = super().save_pretrained(save_directory)
        write_generation_config(save_directory, self.generation_config())
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", str(save_directory).rstrip("/").rsplit("/", 1)[-1]), **kwargs)
        return files

    def _prefilled(self, prompt: str) -> str:
        """The part of the reply that the prompt already contains."""
        frame = self.frame
        if not any(token in prompt for token in frame.control_tokens):
            return prompt
        start = frame.opened_by(prompt)
        if start is None:
            raise ValueError(
                f"the prefix does not end in an open turn of the assistant, but in {prompt[-120:]!r}: give the "
                "prompt as apply_chat_template renders it with add_generation_prompt=True, without the reply"
            )
        return prompt[start:]

    def _text(self, text: str | Ids) -> str:
        """Text of one sequence, leading spaces included."""
        if isinstance(text, str):
            return text
        ids = text if isinstance(text, Sequence) else text.tolist()
        if len(ids) == 1 and isinstance(ids[0], Sequence):  # a batch of one, as `return_tensors="pt"` gives it
            ids = ids[0]
        # SentencePiece decoders strip a leading space; after a token it is kept.
        start = self.frame.control_tokens[0]
        ids = [self.tokenizer.convert_tokens_to_ids(start), *ids]
        whole: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return whole.removeprefix(start)

    def _until_end(self, text: str) -> str:
        """Text before the first token that ends a reply."""
        for end in (self.frame.turn_end, *self.frame.other_ends):
            text = text.partition(end)[0]
        return text


class HERProcessorConfig(PreTrainedConfig):  # type: ignore[misc]
    """Exists so that [`HERProcessor`] can be registered with `AutoProcessor`; no checkpoint has this model type."""

    model_type = "her_processor"


AutoProcessor.register(HERProcessorConfig, HERProcessor, exist_ok=True)
