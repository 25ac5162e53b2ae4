"""What counts as a secret, what does not, and that none is shown."""

import time
from pathlib import Path

import pytest

from her_hf.hub.secrets import find_secrets, own_secrets

LONG = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"

SECRETS = {
    f"token: hf_{LONG}": "a Hugging Face token",
    f'"api_org_{LONG}"': "a Hugging Face token",
    f"OPENAI_API_KEY=sk-{LONG}": "an API key",
    f"sk-proj-{LONG}": "an API key",
    "AKIA" + "ABCDEFGH12345678": "an AWS key",
    f"https://ghp_{LONG}@github.com/x": "a GitHub token",
    "AIza" + LONG[:35]: "a Google key",
    "xoxb-1234567890-abc": "a Slack token",
    "-----BEGIN RSA PRIVATE KEY-----": "a private key",
    "-----BEGIN PRIVATE KEY-----": "a private key",
    "Authorization: Bearer abcdef0123456789": "an Authorization header",
    '{"authorization": "Basic dXNlcjpwYXNzd29yZA=="}': "an Authorization header",
    "see /home/ann/data": "a home path",
    '"path": "/home/ann/x/y"': "a home path",
    "/Users/ann/x": "a home path",
    "/root/models": "a home path",
    r"C:\Users\ann\x": "a home path",
    r'"C:\\Users\\ann\\x"': "a home path",
}
HARMLESS = [
    "hf_hub_download and hf_xet and hf_token_of_mine",
    "a task-based, risk-averse, disk-space-saving-and-long-word",
    "sk-learn-is-a-library-with-a-long-name",
    "the root/branch and /rooted/",
    "/home/user/app is the home of a Space",
    "Authorization: Bearer <TOKEN>",
    "https://example.org/home/ann/blog",
    "$HOME/x and ~/x",
    "-----BEGIN CERTIFICATE-----",
    "她说：/home 是家",
]


@pytest.mark.parametrize(("text", "kind"), SECRETS.items())
def test_a_secret_is_named_with_its_line_and_not_shown(text: str, kind: str) -> None:
    (found,) = find_secrets("a/notes.md", f"one\n{text}\nthree\n".encode())
    assert (found.file, found.line, found.kind) == ("a/notes.md", 2, kind)
    assert len(found.start) <= 4 and LONG not in str(found)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_alike(text: str) -> None:
    assert list(find_secrets("notes.md", text.encode())) == []


def test_secrets_of_this_session_are_found_in_any_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HER_HF_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "not-needed-at-all")
    assert own_secrets(None) == []
    monkeypatch.setenv("HER_HF_API_KEY", "open sesame for 40 thieves")
    assert own_secrets(None) == ["open sesame for 40 thieves"]
    monkeypatch.setenv("HF_TOKEN", "of the environment")
    assert own_secrets("mine") == ["mine", "of the environment", "open sesame for 40 thieves"]
    (found,) = find_secrets("notes.md", b"say open sesame for 40 thieves!", own_secrets("mine"))
    assert str(found) == "notes.md, line 1: a secret of this session (ope…)"


@pytest.mark.parametrize(
    "piece", ["sk-", "hf_", "a/home/", "-----BEGIN ", "authorization: ", "C:\\\\", "sk-a", "/root/-", "ghp_"]
)
def test_a_long_line_takes_no_longer_than_its_length(piece: str) -> None:
    line = (piece * 200_000).encode()
    start = time.monotonic()
    assert list(find_secrets("long", line)) == []
    assert time.monotonic() - start < 5


def test_files_are_read_by_line_and_binary_ones_not_at_all(tmp_path: Path) -> None:
    text, binary = tmp_path / "text", tmp_path / "binary"
    text.write_bytes(b"x\n" * 100_000 + b"/home/ann/x\n")
    binary.write_bytes(b"\0/home/ann/x\n")
    assert [found.line for found in find_secrets("text", text)] == [100_001]
    assert list(find_secrets("binary", binary)) == []
