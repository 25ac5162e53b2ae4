"""The wheel of her_hf that Spaces carry, made of the code that runs here.

her_hf is on no package index yet. A Space therefore has the wheel as a file, its `requirements.txt` names the address
of that file, and so do the install lines of its card and script.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

import her_hf

_INSTALL = re.compile(r"PATH_TO_CHECKOUT\[(\w+(?:,\w+)*)\]")
_REQUIRED = re.compile(r"^her[_-]hf(?:\[([\w,]+)\])?[^\n#]*", re.MULTILINE)
_DATE = (1980, 1, 1, 0, 0, 0)  # the same code gives the same bytes, so that a push without changes sends nothing
_NOT_PACKED = (".pyc", ".tmp", ".log")
_WHEEL = "Wheel-Version: 1.0\nGenerator: her_hf\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel_name() -> str:
    """File name of the wheel of this version."""
    return f"her_hf-{her_hf.__version__}-py3-none-any.whl"


def build_wheel() -> bytes:
    """The wheel of the her_hf that is imported here; the same code gives the same bytes.

    Its files are those of the imported package; its metadata are those of the installed distribution, a checkout's
    (`pip install -e .`) or a wheel's.

    Raises:
        `ImportError`: If her_hf is not installed but only on the path, or if its metadata are of another version, or
            older than `pyproject.toml`.

    Example:

    ```python
    >>> import io, zipfile
    >>> "her_hf/hub/wheel.py" in zipfile.ZipFile(io.BytesIO(build_wheel())).namelist()
    True
    ```
    """
    package = Path(str(her_hf.__file__)).parent
    info = f"her_hf-{her_hf.__version__}.dist-info"
    files = {
        file.relative_to(package.parent).as_posix(): file.read_bytes()
        for file in sorted(package.rglob("*"))
        if file.is_file() and file.suffix not in _NOT_PACKED and not _is_hidden(file.relative_to(package))
    }
    files |= {f"{info}/{name}": text.encode() for name, text in _metadata(package.parent).items()}
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def wheel_address(endpoint: str, repo_id: str) -> str:
    """The address of the wheel in a Space."""
    return f"{endpoint}/spaces/{repo_id}/resolve/main/{wheel_name()}"


def requires_her_hf(requirements: str) -> bool:
    """Whether a `requirements.txt` names her_hf."""
    return bool(_REQUIRED.search(requirements))


def with_wheel(requirements: str, address: str, wheel: bytes) -> str:
    """A `requirements.txt` whose line of her_hf installs the wheel of the Space; its digest makes a new one count.

    Example:

    ```python
    >>> with_wheel("her_hf[eval]==0.1.0", "https://hub/me.whl", b"")[:37]
    'her_hf[eval] @ https://hub/me.whl#sha'
    ```
    """
    fragment = f"#sha256={hashlib.sha256(wheel).hexdigest()}"
    return _REQUIRED.sub(lambda found: f"her_hf{_extras(found[1])} @ {address}{fragment}", requirements)


def with_install_lines(text: str, address: str) -> str:
    """A card or script whose install lines (`pip install 'PATH_TO_CHECKOUT[eval]'`) install the wheel of the Space.

    Example:

    ```python
    >>> with_install_lines("pip install 'PATH_TO_CHECKOUT[eval]'", "https://hub/me.whl")
    "pip install 'her_hf[eval] @ https://hub/me.whl'"
    ```
    """
    return _INSTALL.sub(lambda found: f"her_hf[{found[1]}] @ {address}", text)


def _is_hidden(name: Path) -> bool:
    """Whether a file, or a folder it is in, is hidden: settings and drafts of an editor may hold anything."""
    return any(part.startswith(".") for part in name.parts)


def _extras(names: str | None) -> str:
    return f"[{names}]" if names else ""


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _metadata(root: Path) -> dict[str, str]:
    """Files of the wheel's dist-info, without its record."""
    remedy = "install her_hf (in a checkout: pip install -e .), then push again"
    # In a checkout's own folder, the build's her_hf.egg-info comes before what is installed.
    installed = [one for one in importlib.metadata.distributions(name="her_hf") if one.read_text("METADATA")]
    if not installed:
        raise ImportError(f"her_hf is not installed here, so its wheel cannot be made: {remedy}")
    distribution = installed[0]
    if distribution.version != her_hf.__version__:
        raise ImportError(
            f"the installed metadata are of her_hf {distribution.version}, the code is {her_hf.__version__}: {remedy}"
        )
    project = root / "pyproject.toml"
    if project.is_file() and _declared(project) != _required(distribution):
        raise ImportError(f"{project} declares other dependencies than the installed metadata: {remedy}")
    found = {name: distribution.read_text(name) for name in ("METADATA", "entry_points.txt", "licenses/LICENSE")}
    return {"WHEEL": _WHEEL} | {name: text for name, text in found.items() if text is not None}


def _declared(project: Path) -> set[str]:
    """Dependencies of `pyproject.toml`, with the extra that asks for each."""
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    groups = {"": declared["dependencies"], **declared["optional-dependencies"]}
    return {_normal(line, extra) for extra, lines in groups.items() for line in lines}


def _required(distribution: importlib.metadata.Distribution) -> set[str]:
    """The same of the installed metadata."""
    found = set()
    for line in distribution.requires or ():
        text, _, marker = line.partition(";")
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", marker)
        found.add(_normal(text, extra[1] if extra else ""))
    return found


def _normal(line: str, extra: str) -> str:
    one = Requirement(line)
    return f"{one.name.lower()}[{','.join(sorted(one.extras))}]{one.specifier!s} {extra}"
