"""The probability of answers from servers: the same sums in either way, and never a number that was not sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from her_hf.inference import AccessRefused, Caller, Ledger, ModelError, Retries
from her_hf.inference.openai import ServerModel
from her_hf.judging import PairJudging, PairVerdict, PairwiseJudge
from tests.support.chat import run
from tests.support.pairs import a_pair
from tests.support.token_server import ANSWERS, OPENING, PIECES, TokenServer, serving_tokens

MESSAGES = [{"role": "system", "content": "Which?"}, {"role": "user", "content": "Jo: Hm."}]
BY_PROBABILITY = PairJudging(form="compact", reasoning=False, read="probability")
QUICK = Retries(max_retries=3, first=0.001, longest=0.01)
CHATS, PROMPTS = "/v1/chat/completions", "/v1/completions"


def read(
    server: TokenServer, *, times: int = 1, answers: Sequence[str] = ANSWERS, timeout: float = 300
) -> list[float]:
    """The log-probabilities of the answers, by one client."""

    async def ask() -> list[float]:
        model = ServerModel(server.url, timeout=timeout)
        try:
            for _ in range(times - 1):
                await model.likelihoods(MESSAGES, answers)
            return await model.likelihoods(MESSAGES, answers)
        finally:
            await model.close()

    return run(ask())


def judged(server: TokenServer) -> PairVerdict:
    """A verdict by probability."""

    async def ask() -> PairVerdict:
        caller = Caller(ServerModel(server.url), retries=QUICK)
        found = await PairwiseJudge(caller, BY_PROBABILITY).judge(a_pair())
        await caller.close()
        return found

    return run(ask())


def wanted(server: TokenServer) -> list[float]:
    return [server.likelihood(server.rendered(MESSAGES) + OPENING, answer) for answer in ANSWERS]


def relative(values: list[float]) -> list[float]:
    return [value - values[0] for value in values]


# -- probabilities of a whole prompt


def test_sums_are_over_the_answers_own_tokens() -> None:
    with serving_tokens() as server:
        assert read(server, times=2) == pytest.approx(wanted(server), abs=1e-9)
        first, second = server.asked(PROMPTS)
        assert first == second and (first["prompt_logprobs"], first["max_tokens"]) == (0, 1)
        texts = [body["prompt"] for body in server.asked("/tokenize") if "prompt" in body]
        assert texts == list(ANSWERS), "an answer is tokenized once"
        chats = [body for body in server.asked("/tokenize") if "messages" in body]
        assert chats[0]["chat_template_kwargs"] == {"enable_thinking": False, "enable_system_thinking": False}
        assert server.asked(CHATS) == []


def test_prompt_and_answer_keep_their_own_tokens_where_text_would_merge_them() -> None:
    with serving_tokens(pieces=[*PIECES[:-1]]) as server:
        prompt = server.rendered(MESSAGES) + OPENING
        merged = server.ids(prompt + ANSWERS[0])
        assert server.vocabulary.index('>{"') in merged, "the stand-in would not merge them"
        assert read(server) == pytest.approx(wanted(server), abs=1e-9)
        assert server.asked(PROMPTS)[0]["prompt"][0] == server.ids(prompt) + server.ids(ANSWERS[0])


@pytest.mark.parametrize(
    "entry", [-1.0, {}, *({"logprob": value} for value in ("-1", True, False, 0.5, None, math.nan))]
)
def test_anything_else_than_a_log_probability_is_an_error(entry: Any) -> None:
    with serving_tokens() as server:
        length = len(server.ids(server.rendered(MESSAGES) + OPENING + ANSWERS[0]))
        server.broken = [None, *[{str(token): entry for token in range(200)}] * (length - 1)]
        with pytest.raises(ModelError, match="not the logarithm of a probability") as caught:
            read(server)
    assert caught.value.kind == "protocol" and len(str(caught.value)) < 400


@pytest.mark.parametrize("broken", [[None], "text", [None, *[{"5": {"logprob": -1.0}}] * 10]], ids=str)
def test_log_probabilities_of_another_prompt_are_an_error(broken: Any) -> None:
    with serving_tokens(broken=broken) as server, pytest.raises(ModelError, match=r"a prompt of \d+ tokens with"):
        read(server)


def test_a_probability_of_zero_is_no_number() -> None:
    with serving_tokens(impossible="tie") as server:
        found = read(server)
        assert found[2] == -math.inf and all(map(math.isfinite, found[:2]))
        verdict = judged(server)
    assert verdict.verdict is None and verdict.missing is not None and verdict.missing.cause == "bad_value"


# -- probabilities of the next token

LACKS: list[dict[str, Any]] = [
    {"tokenizes": False},
    {"tokenizes": None},  # llama.cpp: a route of this name, for other requests
    {"reads": "ignored"},
    {"reads": "refused"},
    {"reads": "no route"},
]


@pytest.mark.parametrize("lack", LACKS, ids=str)
def test_next_tokens_give_the_same_differences(lack: dict[str, Any]) -> None:
    with serving_tokens(**lack) as server:
        found = read(server, times=2)
        assert relative(found) == pytest.approx(relative(wanted(server)), abs=1e-9)
        assert len(server.asked(PROMPTS)) <= 1, "it is asked once for what it lacks"
        half = len(server.asked(CHATS)) // 2
        beginnings = [body["messages"][-1]["content"] for body in server.asked(CHATS)]
        assert len(set(beginnings)) == half, "a beginning is read once in a call"
        body = server.asked(CHATS)[0]
    assert body["messages"] == [*MESSAGES, {"role": "assistant", "content": '{"verdict'}]
    asked = ("max_tokens", "temperature", "logprobs", "top_logprobs", "continue_final_message", "stream")
    assert [body[name] for name in asked] == [1, 1.0, True, 20, True, False]


def test_a_token_that_reaches_over_the_fork_is_found() -> None:
    pieces = [*PIECES, ' "cand_']
    with serving_tokens(pieces=pieces, tokenizes=False) as server:
        assert server.vocabulary.index(' "cand_') in server.ids(ANSWERS[0])
        assert relative(read(server)) == pytest.approx(relative(wanted(server)), abs=1e-9)
        assert '{"verdict": "cand' not in [body["messages"][-1]["content"] for body in server.asked(CHATS)]


@pytest.mark.parametrize(
    ("script", "said"),
    [({"top": 1}, "no token that continues"), ({"impossible": "tie"}, '\'{"verdict": "tie\' has other tokens')],
    ids=str,
)
def test_a_token_that_is_not_listed_has_no_number(script: dict[str, Any], said: str) -> None:
    """Nor has its first piece, which is listed: the pieces are not the tokens of the answer."""
    with serving_tokens(tokenizes=False, **script) as server:
        with pytest.raises(ModelError, match=rf"{said}.* not known\. Read the answers as text \(--read") as caught:
            read(server)
        assert caught.value.kind == "unlisted" and not caught.value.retryable
        before = len(server.requests)
        verdict = judged(server)
        assert len(server.requests) - before < 30, "it is not asked again"
    assert verdict.verdict is None and verdict.missing is not None and verdict.missing.cause == "request"


def test_a_server_that_opens_another_turn_has_no_number() -> None:
    with serving_tokens(tokenizes=False, continues=False) as server:
        with pytest.raises(ModelError, match=r"does not continue a final assistant message") as caught:
            read(server)
        assert caught.value.kind == "unlisted" and len(server.asked(CHATS)) == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"says": "ignored"}, "sends no log-probabilities"),
        ({"counts": False}, "does not report the length of prompts"),
        ({"says": "refused"}, "refuses log-probabilities of tokens .*not supported by this model"),
        (
            {"errors": [(404, "{}")] + [(400, '{"error": "Prefilling assistant messages is not supported"}')] * 2},
            "does not continue a final assistant message .*Prefilling",
        ),
    ],
)
def test_a_server_that_lacks_it_ends_the_run(script: dict[str, Any], said: str) -> None:
    with serving_tokens(tokenizes=False, **script) as server:

        async def judge_both() -> None:
            caller = Caller(ServerModel(server.url), retries=QUICK)
            judge = PairwiseJudge(caller, BY_PROBABILITY)
            for number in range(2):
                with pytest.raises(ModelError, match=said) as caught:
                    await judge.judge_all([a_pair(number)])
                assert caught.value.kind == "unsupported" and "--read text" in str(caught.value)
            await caller.close()

        run(judge_both())
        assert len(server.asked(CHATS)) <= 2, "what is known is not asked again"


def test_fields_that_a_server_refuses_are_left_out() -> None:
    refused = ("chat_template_kwargs", "continue_final_message", "add_generation_prompt")
    with serving_tokens(tokenizes=False, refuses=refused) as server:
        assert relative(read(server)) == pytest.approx(relative(wanted(server)), abs=1e-9)
        assert not set(refused) & set(server.asked(CHATS)[-1])


def test_one_token_is_asked_for_under_either_name() -> None:
    unknown = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with serving_tokens(tokenizes=False, errors=[(404, "{}"), (400, f'{{"error": "{unknown}"}}')]) as server:
        read(server)
        body = server.asked(CHATS)[-1]
    assert body["max_completion_tokens"] == 1 and "max_tokens" not in body


def test_answers_must_begin_alike_for_next_tokens() -> None:
    with serving_tokens(tokenizes=False) as server, pytest.raises(ValueError, match="begin with the same word"):
        read(server, answers=["yes", "no"])


# -- through a caller


@pytest.mark.parametrize("tokenizes", [True, False])
def test_busy_servers_are_asked_again_and_answers_are_kept(tmp_path: Path, tokenizes: bool) -> None:
    async def ask(server: TokenServer, ledger: Ledger) -> tuple[list[float], Caller]:
        caller = Caller(ServerModel(server.url), ledger=ledger, retries=QUICK)
        await caller.fingerprint()
        server.errors = [(429, "{}"), (503, "{}")]
        found = await caller.likelihoods(MESSAGES, ANSWERS)
        server.errors = []
        await caller.close()
        return found, caller

    with serving_tokens(tokenizes=tokenizes) as server, Ledger(tmp_path / "ledger.sqlite") as ledger:
        found, first = run(ask(server, ledger))
        assert relative(found) == pytest.approx(relative(wanted(server)), abs=1e-9)
        assert (first.spent.asked, first.spent.retried, first.spent.failed) == (1, 2, 0)
        before = len(server.asked(PROMPTS)), len(server.asked(CHATS))
        again, second = run(ask(server, ledger))
        assert again == found and (second.spent.asked, second.spent.kept) == (0, 1)
        assert (len(server.asked(PROMPTS)), len(server.asked(CHATS))) == before


def test_a_silent_server_and_a_refused_key_say_so() -> None:
    with serving_tokens(silent=1.0) as server, pytest.raises(ModelError, match=r"within|respond for") as caught:
        read(server, timeout=0.2)
    assert caught.value.kind == "timeout"
    with serving_tokens(tokenizes=False) as server:

        async def refused() -> None:
            caller = Caller(ServerModel(server.url), retries=QUICK)
            await caller.fingerprint()
            server.errors = [(401, '{"error": "bad key"}')]
            with pytest.raises(AccessRefused, match="bad key"):
                await caller.likelihoods(MESSAGES, ANSWERS)
            await caller.close()

        run(refused())


def test_servers_share_the_calls_and_concurrency_is_bounded() -> None:
    async def judge(servers: list[TokenServer]) -> list[Any]:
        caller = Caller([ServerModel(server.url) for server in servers], concurrency=3)
        found = await PairwiseJudge(caller, BY_PROBABILITY).judge_all([a_pair(number) for number in range(8)])
        await caller.close()
        return found

    with serving_tokens(pause=0.01) as one, serving_tokens(pause=0.01) as two:
        found = run(judge([one, two]))
        assert all(verdict.verdict for verdict in found)
        assert one.asked(PROMPTS) and two.asked(PROMPTS) and len(one.asked(PROMPTS) + two.asked(PROMPTS)) == 16
        assert one.most_busy + two.most_busy <= 2 * 3
        assert max(one.most_busy, two.most_busy) <= 3
