"""Private parts of libraries: whether they are what they were when they were read, and which a module uses."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT


@dataclass(frozen=True)
class Part:
    """A function that we override or rely on.

    Args:
        owner: Its class or module.
        name (`str`): Its name there.
        parameters (`str`): Its parameters.
        digest (`str`): Digest of its source without comments; empty if only the parameters matter.
        check (`str`): What to check when it has changed.
    """

    owner: Any
    name: str
    parameters: str
    digest: str
    check: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def verify(self, versions: Mapping[str, str], user: str) -> None:
        """Fails if the part has changed since it was read.

        Args:
            versions (`Mapping[str, str]`): Libraries and the versions that it was read in.
            user (`str`): The file that relies on it.
        """
        installed = {name: importlib.metadata.version(name) for name in versions}
        assert self.found() == (self.parameters, self.digest), (
            f"{self} has changed since {dict(versions)} (installed: {installed}). Check {self.check}; see {user}. "
            "Then set parameters, digest and versions in this test, and the versions there."
        )

    def found(self) -> tuple[str, str]:
        """Parameters and digest as installed."""
        function = inspect.unwrap(inspect.getattr_static(self.owner, self.name))
        function = getattr(function, "__func__", function)
        digest = source_digest(function) if self.digest else ""
        return " ".join(inspect.signature(function).parameters), digest


def source_digest(function: Any) -> str:
    """Digest of a function's code: comments, docstring and layout do not count."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


def private_uses(package: str, root: Path = ROOT) -> dict[str, list[str]]:
    """The modules of a package that use private names, with those names."""
    found = {}
    for file in sorted((root / package.replace(".", "/")).rglob("*.py")):
        name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        source = file.read_text(encoding="utf-8")
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            if "install the extra" not in str(error):  # a library that is not in this environment
                raise
            continue
        if names := list(private_names(source, vars(module))):
            found[name] = names
    return found


def private_names(source: str, module: Mapping[str, Any]) -> Iterator[str]:
    """Private names of other objects that a module uses: attributes, names of `getattr`, arguments, methods."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                yield node.attr
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", "")
            names = [str(arg.value) for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
            yield from (name for name in names if called in ("getattr", "hasattr", "setattr") and private(name))
            yield from (keyword.arg for keyword in node.keywords if keyword.arg and private(keyword.arg))
        elif isinstance(node, ast.ClassDef):
            yield from inherited(module[node.name], node)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def inherited(kind: type, node: ast.ClassDef) -> Iterator[str]:
    """Private attributes and methods of a class that a library's base class has too."""
    bases = [base for base in kind.__mro__[1:] if base.__module__.split(".")[0] in ("trl", "transformers")]
    known = {name for base in bases for name in vars(base)}
    known |= {found.attr for base in bases for found in own_attributes(base)}
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    yield from sorted(name for name in methods & known if private(name))
    yield from sorted({found.attr for found in attributes_of_self(node)} & known)


def own_attributes(kind: type) -> list[ast.Attribute]:
    return attributes_of_self(ast.parse(textwrap.dedent(inspect.getsource(kind))))


def attributes_of_self(tree: ast.AST) -> list[ast.Attribute]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and private(node.attr)
    ]
