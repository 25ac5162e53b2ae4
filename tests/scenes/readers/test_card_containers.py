"""Character cards in pictures and archives: every kind of text chunk, what tools do to base64, and hostile files."""

from __future__ import annotations

import base64
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from her_hf.scenes import SceneError, load_scenes
from her_hf.scenes.errors import ForeignData
from her_hf.scenes.readers import card_containers, png
from her_hf.scenes.readers.card_containers import card_in_png

CARD = {"spec": "chara_card_v2", "data": {"name": "Mira?>~ÿ", "first_mes": "*nods* Hm.", "description": "米拉" * 9}}
NEWER = {"spec": "chara_card_v3", "data": {**CARD["data"], "name": "Mira Three"}}  # type: ignore[dict-item]
ENCODED = base64.b64encode(json.dumps(CARD, ensure_ascii=False).encode()).decode()


def encoded(card: Any) -> str:
    return base64.b64encode(json.dumps(card, ensure_ascii=False).encode()).decode()


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


END = chunk(b"IEND", b"")


def made(path: Path, *parts: bytes) -> Path:
    path.write_bytes(png.SIGNATURE + b"".join(parts))
    return path


def picture(path: Path, *chunks: tuple[str, str], zipped: bool = False) -> Path:
    info = PngInfo()
    for keyword, text in chunks:
        info.add_text(keyword, text, zip=zipped)
    Image.new("RGB", (2, 2)).save(path, pnginfo=info)
    return path


def name_in(path: Path) -> str:
    return load_scenes(path)[0].cast[0].name


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("keyword", ["chara", "Chara", "CHARA", "ccv3", "CCV3"])
def test_a_card_in_a_picture(tmp_path: Path, keyword: str, zipped: bool) -> None:
    path = picture(tmp_path / "a.png", ("comment", "hello"), (keyword, ENCODED), zipped=zipped)
    (scene,) = load_scenes(path)
    assert scene.cast[0].name == "Mira?>~ÿ" and scene.dialogue[0].pattern == "AS"


@pytest.mark.parametrize("zipped", [False, True])
def test_international_text(tmp_path: Path, zipped: bool) -> None:
    info = PngInfo()
    info.add_itxt("chara", ENCODED, "en", "Figur", zip=zipped)
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png", pnginfo=info)
    assert name_in(tmp_path / "a.png") == "Mira?>~ÿ"


def test_a_card_behind_the_pixels(tmp_path: Path) -> None:
    data = picture(tmp_path / "a.png").read_bytes()
    path = tmp_path / "b.png"
    path.write_bytes(data[: -len(END)] + chunk(b"tEXt", b"chara\0" + ENCODED.encode()) + END)
    assert name_in(path) == "Mira?>~ÿ"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ENCODED[at : at + 76] for at in range(0, len(ENCODED), 76)),
        "\r\n".join(ENCODED[at : at + 60] for at in range(0, len(ENCODED), 60)),
        ENCODED.rstrip("="),
        ENCODED + "\n",
        ENCODED + "\0",
        ENCODED + "===",
        base64.urlsafe_b64encode(base64.b64decode(ENCODED)).decode(),
        base64.b64encode(b"\xef\xbb\xbf" + base64.b64decode(ENCODED)).decode(),
    ],
    ids=["lines", "crlf", "unpadded", "newline", "nul", "overpadded", "of URLs", "BOM"],
)
def test_what_tools_do_to_base64(tmp_path: Path, text: str) -> None:
    assert "+" in ENCODED or "/" in ENCODED, "the alphabet of URLs must matter"
    assert name_in(made(tmp_path / "a.png", chunk(b"tEXt", b"chara\0" + text.encode("latin-1")), END)) == "Mira?>~ÿ"


def test_the_best_chunk_counts(tmp_path: Path) -> None:
    both = [("chara", ENCODED), ("ccv3", encoded(NEWER))]
    assert name_in(picture(tmp_path / "a.png", *both)) == name_in(picture(tmp_path / "b.png", *reversed(both)))
    assert name_in(tmp_path / "a.png") == "Mira Three"
    assert name_in(picture(tmp_path / "c.png", ("chara", encoded(NEWER)), ("chara", ENCODED))) == "Mira?>~ÿ"


@pytest.mark.parametrize(
    "bad", ["", " ", "not base64!", "QUJD", encoded([1]), encoded({}), encoded({"a": 1}), encoded("[" * 9)[:-4]]
)
def test_an_unusable_chunk_falls_back_on_the_other(tmp_path: Path, bad: str) -> None:
    assert name_in(picture(tmp_path / "a.png", ("ccv3", bad), ("chara", ENCODED))) == "Mira?>~ÿ"
    assert name_in(picture(tmp_path / "b.png", ("chara", ENCODED), ("chara", bad))) == "Mira?>~ÿ"
    with pytest.raises(SceneError, match=r"c\.png, field 'ccv3': ") as caught:
        load_scenes(picture(tmp_path / "c.png", ("ccv3", bad), ("chara", bad)))
    assert not isinstance(caught.value, ForeignData)


@pytest.mark.parametrize(
    "other",
    [
        chunk(b"tEXt", b"comment\0hello", crc=1),
        chunk(b"zTXt", b"comment\0\0" + b"no zlib"),
        chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(40_000_000), 9)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"tEXt", b"no keyword at all, and more than seventy-nine characters of it, which PNG does not allow"),
        chunk(b"IHDR", b"short"),
        chunk(b"abcd", bytes(100)),
        chunk(b"tEXt", b"chara\0" + b"QUJD", crc=1),
    ],
)
def test_a_fault_in_another_chunk_does_not_matter(tmp_path: Path, other: bytes) -> None:
    card = chunk(b"tEXt", b"chara\0" + ENCODED.encode())
    assert name_in(made(tmp_path / "a.png", other, card, END)) == "Mira?>~ÿ"
    assert name_in(made(tmp_path / "b.png", card, other, END)) == "Mira?>~ÿ"
    assert name_in(made(tmp_path / "c.png", card, other[:-6])) == "Mira?>~ÿ"  # truncated after the card


def test_the_size_of_another_chunk_does_not_matter(tmp_path: Path) -> None:
    path, size = tmp_path / "a.png", 300_000_000
    with path.open("wb") as file:
        file.write(png.SIGNATURE + struct.pack(">I", size) + b"tEXt" + b"chara-ext-asset_:1\0")
        file.seek(size - 19 + 4, 1)  # a hole: takes no room on the disk
        file.write(chunk(b"tEXt", b"chara\0" + ENCODED.encode()) + END)
    assert name_in(path) == "Mira?>~ÿ"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ((b"\0\0",), "is a truncated image without a character card"),
        ((struct.pack(">I", 2**31) + b"tEXt",), "is a truncated image"),
        ((chunk(b"tEXt", b"chara\0" + ENCODED.encode())[:-20],), "field 'chara': is truncated"),
        ((chunk(b"tEXt", b"chara\0" + ENCODED.encode(), crc=1), END), "field 'chara': is damaged"),
        ((chunk(b"zTXt", b"chara\0\0" + b"no zlib"), END), "cannot be inflated"),
        ((chunk(b"zTXt", b"chara\0\0" + zlib.compress(ENCODED.encode())[:-8]), END), "not a complete zlib stream"),
        (
            (chunk(b"zTXt", b"chara\0\x07" + zlib.compress(ENCODED.encode())), END),
            "not a complete zlib stream as PNG requires",
        ),
        ((chunk(b"zTXt", b"chara"), END), "not a complete zlib stream as PNG requires"),
        ((chunk(b"iTXt", b"chara\0"), END), "is not a complete iTXt chunk"),
        ((chunk(b"iTXt", b"chara\0\0\0en\0x"), END), "is not a complete iTXt chunk"),
        ((END, chunk(b"tEXt", b"chara\0" + ENCODED.encode())), "without a character card: it has no text chunk ccv3"),
        ((chunk(b"tEXt", b"chara\0" + base64.b64encode(b"[" * 100_000)), END), "nested too deep"),
        ((chunk(b"tEXt", b"chara\0" + base64.b64encode(b"\xff\xfe")), END), "field 'chara': is not a JSON card"),
        ((chunk(b"tEXt", b"chara\0" + b"!" * 100_000), END), "is not base64 of a JSON card"),
    ],
)
def test_hostile_pictures(tmp_path: Path, data: tuple[bytes, ...], match: str) -> None:
    with pytest.raises(SceneError, match=match) as caught:
        load_scenes(made(tmp_path / "a.png", *data))
    assert str(caught.value).startswith(str(tmp_path / "a.png")) and len(str(caught.value)) < 1_000


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_text_that_grows_without_end_is_refused(tmp_path: Path, kind: bytes) -> None:
    bomb = zlib.compress(b"A" * (png.MAX_CHUNK + 1), 9)
    head = b"chara\0\0" if kind == b"zTXt" else b"chara\0\1\0\0\0"
    with pytest.raises(SceneError, match=f"inflates to more than the maximum of {png.MAX_CHUNK:,} bytes"):
        card_in_png(made(tmp_path / "a.png", chunk(kind, head + bomb), END))


def test_a_card_has_a_largest_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = picture(tmp_path / "card.png", ("chara", ENCODED))
    monkeypatch.setattr(png, "MAX_CHUNK", 100)
    with pytest.raises(SceneError, match="more than the maximum of 100; shorten the card"):
        load_scenes(path)


def test_no_picture_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"GIF89a")
    with pytest.raises(SceneError, match="not a PNG"):
        card_in_png(path)
    with pytest.raises(SceneError, match="is not JSON"):
        load_scenes(path)


# -- archives


def archive(path: Path, compression: int = zipfile.ZIP_DEFLATED, **files: bytes | str) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "."), content)
    return path


@pytest.mark.parametrize("name", ["card__json", "Card__JSON"])
@pytest.mark.parametrize("file", ["a.charx", "a.zip"])
def test_a_card_in_an_archive(tmp_path: Path, name: str, file: str) -> None:
    path = archive(tmp_path / file, **{"assets": b"x" * 1000, name: json.dumps(NEWER)})
    assert name_in(path) == "Mira Three"
    if file.endswith("charx"):
        assert load_scenes(tmp_path)[0].cast[0].name == "Mira Three"


def test_archives_that_hold_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ForeignData, match=r"a\.charx: is a zip archive without card\.json: it has 'x\.txt'"):
        load_scenes(archive(tmp_path / "a.charx", x__txt="x"))
    with pytest.raises(SceneError, match=r"field 'card\.json': is not a JSON card"):
        load_scenes(archive(tmp_path / "b.charx", card__json="{"))
    data = archive(tmp_path / "c.charx", card__json=json.dumps(NEWER)).read_bytes()
    for cut in (10, len(data) // 2, len(data) - 10):
        (tmp_path / "c.charx").write_bytes(data[:cut])
        with pytest.raises(SceneError, match=r"c\.charx: is not a readable zip archive"):
            load_scenes(tmp_path / "c.charx")
    monkeypatch.setattr(card_containers, "MAX_CHUNK", 100)
    with pytest.raises(SceneError, match=r"has more than the maximum of 100 bytes"):
        load_scenes(archive(tmp_path / "d.charx", card__json=json.dumps(NEWER)))


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_an_archive_damaged_anywhere_is_a_scene_error_or_a_card(tmp_path: Path, compression: int) -> None:
    data = archive(tmp_path / "a.charx", compression, card__json=json.dumps(NEWER)).read_bytes()
    for at in range(4, len(data)):
        (tmp_path / "a.charx").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            assert name_in(tmp_path / "a.charx") == "Mira Three"
        except SceneError as error:
            assert "a.charx" in str(error)
