"""The wheel that Spaces carry: that of this code, the same bytes each time, installable."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import her_hf
from her_hf.hub import wheel as module
from her_hf.hub.wheel import build_wheel, requires_her_hf, wheel_name, with_install_lines, with_wheel
from tests.support.paths import ROOT
from tests.support.pushed import write_files


def test_it_holds_this_code_and_its_data_and_is_the_same_each_time() -> None:
    made = build_wheel()
    assert made == build_wheel()
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        names = archive.namelist()
        packed = {name: archive.read(name) for name in names if name.startswith("her_hf/")}
    package = ROOT / "her_hf"
    code = {file.relative_to(ROOT).as_posix() for file in package.rglob("*") if file.is_file()}
    assert packed.keys() == {name for name in code if not name.endswith(".pyc")}
    assert packed["her_hf/hub/wheel.py"] == (package / "hub" / "wheel.py").read_bytes()
    assert "her_hf/py.typed" in packed and any(name.endswith(".jinja") for name in packed)
    info = f"her_hf-{her_hf.__version__}.dist-info"
    assert {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")} <= set(names)


def test_hidden_files_stay_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "her_hf"
    write_files(package, {"__init__.py": "", ".env": "KEY=1", ".cache/note.txt": "x", "a/.b.py.swp": "x"})
    monkeypatch.setattr(her_hf, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(module, "_metadata", lambda root: {})
    with zipfile.ZipFile(io.BytesIO(build_wheel())) as archive:
        assert [name for name in archive.namelist() if name.startswith("her_hf/")] == ["her_hf/__init__.py"]


def test_pip_installs_it_and_the_installed_one_makes_the_same(tmp_path: Path) -> None:
    file = tmp_path / wheel_name()
    file.write_bytes(build_wheel())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(file)], check=True, timeout=120)
    code = """
import hashlib, her_hf
from her_hf.hub.wheel import build_wheel
print(her_hf.__file__, hashlib.sha256(build_wheel()).hexdigest())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    again = hashlib.sha256(file.read_bytes()).hexdigest()
    assert done.stdout.split() == [str(tmp_path / "site" / "her_hf" / "__init__.py"), again]


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("her_hf[eval]==0.1.0", "her_hf[eval] @ ADDRESS"),
        ("her-hf", "her_hf @ ADDRESS"),
        ("her_hf[eval,demo] @ git+https://x/y@1", "her_hf[eval,demo] @ ADDRESS"),
    ],
)
def test_requirements_name_its_address(line: str, written: str) -> None:
    text = f"# about her_hf\ngradio\n{line}\nnumpy\n"
    digest = "#sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert requires_her_hf(text)
    assert with_wheel(text, "ADDRESS", b"") == f"# about her_hf\ngradio\n{written}{digest}\nnumpy\n"


def test_requirements_without_it_stay() -> None:
    assert not requires_her_hf("# her_hf\ngradio\nmy_her_hf\n")


def test_install_lines() -> None:
    assert (
        with_install_lines("pip install 'PATH_TO_CHECKOUT[eval,train]'", "A") == "pip install 'her_hf[eval,train] @ A'"
    )
    assert with_install_lines("PATH_TO_CHECKOUT", "A") == "PATH_TO_CHECKOUT"


def test_without_metadata_of_this_code_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(her_hf, "__version__", "9.9.9")
    with pytest.raises(ImportError, match=r"are of her_hf .*, the code is 9\.9\.9: install her_hf"):
        build_wheel()

    monkeypatch.setattr(module.importlib.metadata, "distributions", lambda name: [])
    with pytest.raises(ImportError, match="not installed here"):
        build_wheel()


def test_dependencies_that_have_changed_since_the_installation_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_declared", lambda project: {"numpy[]>=9 "})
    with pytest.raises(ImportError, match="declares other dependencies"):
        build_wheel()
