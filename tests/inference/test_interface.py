"""inference: the interface that all backends share, and transformers in process."""

from __future__ import annotations

import asyncio
import copy
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from her_hf.dual_layer import parse_turn
from her_hf.inference import ModelError, Reply, Sampling, is_url, open_model
from her_hf.inference.detokenize import Detokenizer
from tests.support.chat import FULL, MESSAGES, run, streamed, total, whole
from tests.support.paths import FIXTURES

# -- the interface


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("stop", "x"),
        ("stop", ("",)),
    ],
)
def test_sampling_refuses_what_cannot_be_drawn(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})  # type: ignore[arg-type]


def test_sampling_can_key_a_ledger() -> None:
    assert len({Sampling(), Sampling(), Sampling(seed=1), Sampling(stop=("x",))}) == 3


@pytest.mark.parametrize(
    ("kind", "status", "retryable"),
    [
        ("status", 429, True),
        ("status", 503, True),
        ("status", 400, False),
        ("status", 401, False),
        ("connection", None, True),
        ("timeout", None, True),
        ("dropped", None, True),
        ("protocol", None, False),
    ],
)
def test_errors_know_whether_to_try_again(kind: str, status: int | None, retryable: bool) -> None:
    assert ModelError("", kind=kind, status=status).retryable is retryable


@pytest.mark.parametrize("module", ["her_hf.inference", "her_hf.inference.openai", "her_hf.session"])
def test_a_server_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# -- ids to text


def _bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(max_size=40), st.lists(st.integers(1, 5), max_size=60))
def test_pieces_add_up_however_cut(text: str, cuts: list[int]) -> None:
    ids = list(text.encode())
    written = Detokenizer(_bytes)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(written.feed(ids[at : at + cut]))
        at += cut
    pieces.append(written.feed(ids[at:]))
    pieces.append(written.feed([], final=True))
    assert "".join(pieces) == written.text == text


@given(st.text("abSTOP ", max_size=40), st.integers(1, 4))
def test_nothing_of_a_stop_text_is_shown(text: str, size: int) -> None:
    written = Detokenizer(_bytes, ["STOP", "TOP "])
    ids = list(text.encode())
    shown = "".join(written.feed(ids[at : at + size]) for at in range(0, len(ids), size)) + written.feed(
        [], final=True
    )
    ends = [at for at in (text.find("STOP"), text.find("TOP ")) if at >= 0]
    assert written.stopped is bool(ends)
    # A stop text that ends first may be found before a longer one that began earlier is whole; never is one shown.
    assert text.startswith(shown)
    assert "STOP" not in shown and "TOP " not in shown
    if not ends:
        assert shown == text


# -- in process


class _Scripted:
    """Stands for a causal model: `generate` writes given ids, feeds the streamer, honours stopping."""

    def __init__(self, model: Any, ids: list[int]) -> None:
        self.ids, self.device, self.config = ids, model.device, model.config
        self.generation_config = copy.deepcopy(model.generation_config)

    def _supports_default_dynamic_cache(self) -> bool:
        return False

    def generate(self, input_ids: Any, streamer: Any, stopping_criteria: Any, **_: Any) -> Any:
        import torch

        out = input_ids
        if streamer:
            streamer.put(input_ids)
        for token in self.ids:
            out = torch.cat([out, torch.tensor([[token]])], dim=-1)
            if streamer:
                streamer.put(out[:, -1])
            if stopping_criteria[0](out, None).all():
                break
        return out


@pytest.fixture(scope="module", params=["smollm2", "llama3"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a fixture's tokenizer, whose template is the base's own."""
    return tiny_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def local(checkpoint: Path) -> Any:
    return open_model(str(checkpoint))


def tiny_checkpoint(folder: Path, tokenizer: str) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tok = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        eos_token_id=tok.eos_token_id,
        bos_token_id=tok.bos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def scripted(local: Any, text: str, *, ended: bool = True) -> Any:
    from her_hf.inference.local import LocalModel

    tokenizer = local._tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
    return LocalModel(tokenizer, _Scripted(local._model, ids), name="scripted")


def test_a_base_gets_the_template_and_says_so(local: Any) -> None:
    assert len(local.notes) == 1
    assert "her-hf attach" in local.notes[0]
    prompt = run(local.prompt(MESSAGES))
    assert prompt.exact
    assert prompt.text.endswith("<system_thinking>\n")
    assert not run(local.prompt(MESSAGES, thinking=False)).text.endswith("<system_thinking>\n")
    assert run(local.window()) == 2048


def test_a_carried_template_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    from her_hf.processing import attach_tokenizer

    tiny_checkpoint(tmp_path, checkpoint.name.removesuffix("0"))
    attach_tokenizer(str(checkpoint)).save_pretrained(tmp_path)
    assert open_model(str(tmp_path)).notes == []


def test_a_scripted_reply_is_read_whole(local: Any) -> None:
    model = scripted(local, FULL.removeprefix("<system_thinking>\n") + " 你好 🎈")
    pieces = run(streamed(model))
    reply = pieces[-1]
    assert isinstance(reply, Reply)
    assert total(pieces) == reply.text == FULL + " 你好 🎈"
    assert reply.ended and reply.finish_reason == "stop"
    assert len(pieces) > 20
    assert run(whole(model)) == reply
    assert reply.usage.completion_tokens == len(model._model.ids)
    assert parse_turn(reply.text, names=["Ann"]).well_formed


def test_a_cut_reply_and_a_stop_text(local: Any) -> None:
    cut = run(streamed(scripted(local, "Ann stalls", ended=False)))[-1]
    assert isinstance(cut, Reply)
    assert (cut.ended, cut.finish_reason, cut.text) == (False, "length", "<system_thinking>\nAnn stalls")
    model = scripted(local, "Ann: one two\nBell: three four five six seven")
    for reply in (
        run(streamed(model, sampling=Sampling(stop=("\nBell:",)), thinking=False))[-1],
        run(whole(model, sampling=Sampling(stop=("\nBell:",)), thinking=False)),
    ):
        assert isinstance(reply, Reply)
        assert (reply.text, reply.ended, reply.finish_reason) == ("Ann: one two", False, "stop")
        assert (reply.usage.completion_tokens or 0) < len(model._model.ids)


def test_one_seed_one_reply_alone_streamed_or_in_a_batch(local: Any) -> None:
    other = [{"role": "user", "content": "A longer line of talk, so that the rows are padded."}]
    sampling = Sampling(max_tokens=12)

    async def all_ways() -> None:
        streamed = [piece async for piece in local.stream(MESSAGES, sampling=Sampling(max_tokens=12, seed=5))]
        alone = await local.chat(MESSAGES, sampling=Sampling(max_tokens=12, seed=5))
        batch = await local.chat_many([other, MESSAGES, MESSAGES], sampling=sampling, seeds=[5, 5, 6])
        assert total(streamed) == alone.text == batch[1].text
        assert batch[2].text != alone.text
        fresh = await local.chat_many([MESSAGES] * 3, sampling=sampling, batch_size=2)
        assert len({reply.text for reply in fresh}) == 3
        seen: list[int] = []
        counted = await local.chat_many([MESSAGES] * 2, sampling=sampling, each_token=lambda: seen.append(1))
        assert len(seen) == max(reply.usage.completion_tokens for reply in counted)
        greedy = await local.chat_many([MESSAGES, other], sampling=Sampling(max_tokens=5, temperature=0))
        assert greedy[0] == await local.chat(MESSAGES, sampling=Sampling(max_tokens=5, temperature=0))
        with pytest.raises(ValueError, match="one seed per conversation"):
            await local.chat_many([MESSAGES], seeds=[1, 2])

    run(all_ways())


def test_greedy_is_what_transformers_alone_would_write(local: Any) -> None:
    tokenizer, model = local._tokenizer, local._model
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**prompt, do_sample=False, max_new_tokens=8)[0, prompt["input_ids"].shape[1] :]
    reply = run(local.chat(MESSAGES, sampling=Sampling(max_tokens=8, temperature=0)))
    assert reply.content == tokenizer.decode(out, skip_special_tokens=True)
    assert reply.usage.prompt_tokens == prompt["input_ids"].shape[1]


def test_drawing_leaves_torch_alone(local: Any) -> None:
    import torch

    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    run(local.chat(MESSAGES, sampling=Sampling(max_tokens=3, seed=1)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_closing_the_stream_stops_the_model(local: Any) -> None:
    async def leave() -> int:
        stream = local.stream(MESSAGES, sampling=Sampling(max_tokens=1900, seed=1))
        for _ in range(4):
            await anext(stream)
        await stream.aclose()
        # The model is free again: a short reply does not wait for 1900 tokens.
        reply = await asyncio.wait_for(local.chat(MESSAGES, sampling=Sampling(max_tokens=2)), 5)
        return reply.usage.completion_tokens or 0

    assert run(leave()) == 2


@pytest.mark.parametrize("waiting", [1, 12])
def test_who_leaves_the_queue_lets_the_next_one_in(local: Any, waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits leaves without waiting, also if more wait than a pool has threads."""
    release, begun = threading.Event(), []
    generate = local._model.generate

    def slow(**how: Any) -> Any:
        begun.append(1)
        assert len(begun) > 1 or release.wait(60)
        return generate(**how)

    monkeypatch.setattr(local._model, "generate", slow)

    async def queue() -> None:
        async def reply() -> list[str | Reply]:
            return [piece async for piece in local.stream(MESSAGES, sampling=Sampling(max_tokens=2))]

        first = asyncio.create_task(reply())
        while not begun:
            await asyncio.sleep(0.01)
        leaving = [asyncio.create_task(reply()) for _ in range(waiting)]
        last = asyncio.create_task(reply())
        while local._line._work_queue.qsize() <= waiting:
            await asyncio.sleep(0.01)
        for task in leaving:
            task.cancel()
        done, pending = await asyncio.wait(leaving, timeout=30)  # the first one still generates
        assert not pending and all(task.cancelled() for task in done) and not first.done()
        release.set()
        assert isinstance((await first)[-1], Reply) and isinstance((await last)[-1], Reply)

    run(queue())
    assert len(begun) == 2


def test_counting_tokens_does_not_stop_the_others(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, free = threading.Event(), threading.Event()
    template = local._tokenizer.apply_chat_template

    def slow(*args: Any, **how: Any) -> Any:
        counting.set()
        assert free.wait(60)
        return template(*args, **how)

    monkeypatch.setattr(local._tokenizer, "apply_chat_template", slow)

    async def both() -> int:
        task = asyncio.create_task(local.prompt(MESSAGES))
        while not counting.is_set():
            await asyncio.sleep(0.01)
        free.set()  # only a loop that runs meanwhile comes here
        return (await task).tokens

    assert run(both()) > 10


def test_a_reply_is_continued_where_it_was_cut(local: Any) -> None:
    body = FULL.removeprefix("<system_thinking>\n")
    begun = FULL[: FULL.index("Sugar")]
    model = scripted(local, FULL[len(begun) :])

    async def rest(messages: list[dict[str, Any]], thinking: bool, text: str) -> Reply:
        pieces = [piece async for piece in model.continued(messages, text, thinking=thinking)]
        reply = pieces[-1]
        assert isinstance(reply, Reply) and reply.text == text + total(pieces)
        return reply

    reply = run(rest(MESSAGES, True, begun))
    assert (reply.text, reply.ended) == (FULL, True)
    whole_prompt = local._encode(MESSAGES, True) + local._encode_text(body[: body.index("Sugar")])
    assert reply.usage.prompt_tokens == len(whole_prompt)
    assert run(rest(MESSAGES, False, "Ann: ")).text == "Ann: " + FULL[len(begun) :]


def test_a_failure_in_the_model_is_a_model_error(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("out of memory\nlong trace")

    monkeypatch.setattr(local._model, "generate", broken)
    for ask in (streamed, whole):
        with pytest.raises(ModelError, match=r"out of memory$") as caught:
            run(ask(local))
        assert caught.value.kind == "local"


def test_the_sampler_draws_from_the_nucleus_in_its_proportions() -> None:
    import torch

    from her_hf.inference.seeded import SeededSampler

    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    sampler = SeededSampler([7], temperature=1.0, top_p=0.75)
    drawn = [int(sampler(torch.zeros(1, 1, dtype=torch.long), scores).argmax()) for _ in range(2000)]  # type: ignore[arg-type]
    counts = [drawn.count(token) / 2000 for token in range(4)]
    assert counts[2:] == [0, 0]
    assert abs(counts[0] - 0.625) < 0.04
    again = SeededSampler([1, 7], temperature=1.0, top_p=0.75)
    rows = [again(torch.zeros(2, 1, dtype=torch.long), scores.repeat(2, 1)).argmax(-1)[1] for _ in range(50)]  # type: ignore[arg-type]
    assert [int(row) for row in rows] == drawn[:50]


def test_what_cannot_be_opened(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        open_model(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no folder nobody/nothing here"):
        open_model("nobody/nothing")
    with pytest.raises(ValueError, match="save_pretrained"):
        open_model(str(tmp_path))
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"header length\. Give a complete folder"):
        open_model(str(tmp_path))
    for device in ("bogus", "cuda:99", "xla"):
        with pytest.raises(ValueError, match=rf"cannot use the device '{device}' here: .* such as"):
            open_model(str(checkpoint), device=device)
    with pytest.raises(ValueError, match="goes with a server's URL"):
        open_model(str(checkpoint), model="x")
    with pytest.raises(ValueError, match="dtype"):
        open_model(str(checkpoint), dtype="float99")
    assert is_url("https://h") and not is_url("owner/name")


def test_a_tokenizer_without_an_end_is_refused(local: Any) -> None:
    from her_hf.inference.local import LocalModel

    tokenizer, model = copy.deepcopy(local._tokenizer), _Scripted(local._model, [])
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="no end-of-turn token"):
        LocalModel(tokenizer, model, name="x")
