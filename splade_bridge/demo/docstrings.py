"""The documentation strings of the running Python's standard library, as passages.

They are read from the interpreter at hand, so nothing has to be downloaded or shipped. Modules
written in Python are parsed with `ast` and never imported; modules written in C are imported,
but only those of the standard library that document public names, none of which does anything
on import. A passage is one documented module, class, function, method or property; its id is
the name a user writes (`tempfile.TemporaryDirectory`, `heapq.heappush`, `str.join`), not the
private place where it is defined (`_heapq.heappush`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import inspect
import os.path
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Tests, demos, tables and vendored code: no documentation a user looks for.
_SKIPPED_TOP_LEVEL = {
    "antigravity", "distutils", "ensurepip", "encodings", "idlelib", "lib2to3", "pydoc_data",
    "test", "this", "turtledemo", *({"posixpath", "ntpath"} - {os.path.__name__}),
}  # fmt: skip
_SKIPPED_PARTS = {"__main__", "test", "tests"}

# Importing these does something (readline takes over the terminal) or needs a display.
_NOT_IMPORTED = {"readline", "_tkinter"}

# Modules whose public name cannot be told from their own.
_PUBLIC_NAMES = {
    "builtins": "",
    "posix": "os",
    "nt": "os",
    "pyexpat": "xml.parsers.expat",
    "genericpath": "os.path",
    "_collections_abc": "collections.abc",
    os.path.__name__: "os.path",
}

_MAX_SIGNATURE = 160

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Passage(NamedTuple):
    """One documented name: `id` is the qualified name, `title` adds the signature."""

    id: str
    title: str
    text: str


def passages() -> Iterator[Passage]:
    """Yield the passages sorted by id, each id once and each documentation text once."""
    library = _Library()
    found: dict[str, Passage] = {}
    for passage in (*library.documented(), *_compiled(library)):
        found.setdefault(passage.id, passage)
    seen: set[str] = set()
    kept = []

    # The same text under several names (bytes.find, bytearray.find) stays under the shortest one
    # that does not merely inherit it.
    def rank(passage: Passage) -> tuple[bool, int, int, str]:
        name = passage.id
        return name in library.inherited, name.count("."), len(name), name

    for passage in sorted(found.values(), key=rank):
        text = " ".join(passage.text.split())
        if text not in seen:
            seen.add(text)
            kept.append(passage)
    yield from sorted(kept)


class _Module:
    """What one source file defines, imports and exports at its top level."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.is_package = path.name == "__init__.py"
        tree = ast.parse(path.read_bytes())
        self.doc = ast.get_docstring(tree)
        self.definitions: dict[str, _Definition] = {}
        self.imports: list[tuple[str, str]] = []  # (module, name or "*"), as "from" imports
        self.exports: set[str] | None = None  # __all__ where it is a literal
        self.bound_methods: list[tuple[str, str, str]] = []  # choice = _inst.choice, in random
        instances: dict[str, str] = {}
        for node in _statements(tree.body):
            if isinstance(node, _Definition):
                self.definitions.setdefault(node.name, node)
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                self.imports += [(origin, a.name) for a in node.names if a.asname in (None, a.name)]
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                target, value = node.targets[0].id, node.value
                if target == "__all__" and self.exports is None:
                    self.exports = _literal_names(value)
                elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
                    instances[target] = value.func.id
                elif isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
                    owner = instances.get(value.value.id)
                    if owner is not None:
                        self.bound_methods.append((target, owner, value.attr))

    def _origin(self, node: ast.ImportFrom) -> str:
        """The absolute name of the module that `node` imports from."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*parts, node.module] if node.module else parts)


class _Library:
    """The Python sources of the standard library and the public name of everything in them."""

    def __init__(self) -> None:
        root = Path(sysconfig.get_path("stdlib"))
        self.modules = {name: _Module(name, path) for name, path in _sources(root)}
        # (module, name or "*") -> the public module that offers it
        self.offered: dict[tuple[str, str], str] = {}
        self.inherited: set[str] = set()  # ids of what classes take from private bases
        for module in self.modules.values():
            if not _is_private(module.name):
                self._note_offers(module)

    def _note_offers(self, module: _Module) -> None:
        for origin, name in module.imports:
            moved = _is_private(origin) or module.name == _package(origin)
            listed = module.exports is None or name in module.exports or name == "*"
            if moved and listed and not name.startswith("_"):
                known = self.offered.get((origin, name))
                if known is None or _offer_rank(origin, module.name) < _offer_rank(origin, known):
                    self.offered[origin, name] = module.name
        # Lazy packages (concurrent.futures) list names that only a submodule defines.
        if module.is_package and module.exports:
            imported = {name for _, name in module.imports}
            for name in module.exports - imported - module.definitions.keys():
                for other in self.modules.values():
                    if _package(other.name) == module.name and name in other.definitions:
                        self.offered.setdefault((other.name, name), module.name)

    def public_module(self, module: str, name: str) -> str | None:
        """Where a user finds `name`, which `module` defines; None where it is not public."""
        for _ in range(8):  # a chain of re-exports is short: _sqlite3, sqlite3.dbapi2, sqlite3
            offer = self.offered.get((module, name))
            source = self.modules.get(module)
            if offer is None and (not source or not source.exports or name in source.exports):
                offer = self.offered.get((module, "*"))
            if offer is None:
                break
            module = offer
        if module in _PUBLIC_NAMES:
            return _PUBLIC_NAMES[module]
        return None if _is_private(module) else module

    def documented(self) -> Iterator[Passage]:
        """Passages of all modules, those defined in public modules first."""
        for module in sorted(self.modules.values(), key=lambda m: (_is_private(m.name), m.name)):
            if module.doc and not _is_private(module.name):
                yield Passage(module.name, module.name, module.doc)
            for target, owner, method in module.bound_methods:
                node = self._method(module, owner, method)
                named = not target.startswith("_") and not _is_private(module.name)
                if node is not None and named:
                    yield from _documented(f"{module.name}.{target}", node, bound=True)
            for name, node in module.definitions.items():
                public = None if name.startswith("_") else self.public_module(module.name, name)
                if public is not None:
                    yield from self._definition(module, _join(public, name), node)

    def _definition(self, module: _Module, name: str, node: _Definition) -> Iterator[Passage]:
        yield from _documented(name, node)
        if not isinstance(node, ast.ClassDef):
            return
        own: set[str] = set()
        for cls in (node, *self._private_bases(module, node)):
            for member in _statements(cls.body):
                if not isinstance(member, _Definition) or member.name.startswith("_"):
                    continue
                member_name = f"{name}.{member.name}"
                if cls is node:
                    own.add(member_name)
                elif member_name not in own:
                    self.inherited.add(member_name)
                if isinstance(member, ast.ClassDef):
                    yield from self._definition(module, member_name, member)
                else:
                    yield from _documented(member_name, member, bound=True)

    def _private_bases(self, module: _Module, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """The bases that no user sees (argparse._ActionsContainer): theirs count as the class's."""
        for base in node.bases:
            if not isinstance(base, ast.Name):
                continue
            home = module
            for origin, name in module.imports:
                if name == base.id and origin in self.modules:
                    home = self.modules[origin]
            found = home.definitions.get(base.id)
            if not isinstance(found, ast.ClassDef) or found is node:
                continue
            if base.id.startswith("_") or self.public_module(home.name, base.id) is None:
                yield found
                yield from self._private_bases(home, found)

    def _method(self, module: _Module, owner: str, name: str) -> _Definition | None:
        cls = module.definitions.get(owner)
        for member in _statements(cls.body) if isinstance(cls, ast.ClassDef) else ():
            if isinstance(member, _Definition) and member.name == name:
                return member
        return None


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules under `root` by name, without the folders that are skipped."""

    def walk(folder: Path, package: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        for path in sorted(folder.iterdir()):
            name = path.stem
            skipped = _SKIPPED_PARTS if package else _SKIPPED_TOP_LEVEL
            if not name.isidentifier() or name in skipped:
                continue
            if path.is_dir():
                yield from walk(path, (*package, name))
            elif path.suffix == ".py":
                yield ".".join(package if name == "__init__" else (*package, name)), path

    yield from walk(root, ())


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of `body`, those under if, try and with included."""
    for node in body:
        yield node
        for field in ("body", "handlers", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
                yield from _statements(getattr(node, field, ()))


def _literal_names(value: ast.expr) -> set[str] | None:
    try:
        return {str(name) for name in ast.literal_eval(value)}
    except (TypeError, ValueError):
        return None


def _is_private(module: str) -> bool:
    return module in _PUBLIC_NAMES or any(part.startswith("_") for part in module.split("."))


def _package(module: str) -> str:
    return module.rpartition(".")[0]


def _offer_rank(origin: str, module: str) -> tuple[bool, int, str]:
    """Of several modules that offer a name of `_heapq`, `heapq` goes first."""
    return (module != origin.lstrip("_"), len(module), module)


def _join(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _documented(name: str, node: _Definition, bound: bool = False) -> Iterator[Passage]:
    doc, arguments = ast.get_docstring(node), None
    if isinstance(node, ast.ClassDef):
        bound = True
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and member.name == "__init__":
                arguments = member.args
                doc = "\n\n".join(filter(None, (doc, ast.get_docstring(member))))
    elif not any(_decorator(d) in ("property", "cached_property") for d in node.decorator_list):
        bound = bound and "staticmethod" not in map(_decorator, node.decorator_list)
        arguments = node.args
    if doc:
        signature = f"({ast.unparse(arguments)})" if arguments else ""
        yield Passage(name, name + _short(signature, bound), doc)


def _decorator(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _short(signature: str, bound: bool = False) -> str:
    """`signature` without self (in C: $self, $type or $module) and without what makes it long."""
    first = r"\w+" if bound else r"\$\w+"
    signature = re.sub(rf"^\({first}(?:, /)?(?:, )?", "(", signature)
    return signature if len(signature) <= _MAX_SIGNATURE else "(...)"


def _compiled(library: _Library) -> Iterator[Passage]:
    """Passages of the built-in modules and of the C extensions that public modules offer."""
    offered = {module for module, _ in library.offered}
    for name in sorted(_extension_names()):
        wanted = name in _PUBLIC_NAMES or not name.startswith("_") or name in offered
        if not wanted or name in _NOT_IMPORTED or name.startswith(("xx", "_xx", "_test")):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except ImportError:
            continue
        if module.__doc__ and not _is_private(name):
            yield Passage(name, name, inspect.cleandoc(module.__doc__))
        for key, value in sorted(vars(module).items()):
            if not key.startswith("_"):
                yield from _compiled_name(library, name, key, value)
    yield from _compiled_class("re.Pattern", re.Pattern)
    yield from _compiled_class("re.Match", re.Match)


def _extension_names() -> set[str]:
    names = set(sys.builtin_module_names)
    folders = {
        Path(sysconfig.get_path("platstdlib")) / "lib-dynload",
        Path(sysconfig.get_config_var("DESTSHARED") or sys.base_prefix),
        Path(sys.base_prefix) / "DLLs",
    }
    for path in (path for folder in folders if folder.is_dir() for path in folder.iterdir()):
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            if path.name.endswith(suffix) and path.name.removesuffix(suffix).isidentifier():
                names.add(path.name.removesuffix(suffix))
    return names


def _compiled_name(library: _Library, module: str, name: str, value: object) -> Iterator[Passage]:
    home = str(getattr(value, "__module__", module))
    if isinstance(value, types.ModuleType) or getattr(value, "__name__", name) != name:
        return
    if isinstance(value, type) and home != module and not _is_private(home):
        public: str | None = home  # the type says itself where it belongs: collections.deque
    else:
        public = library.public_module(module, name)
    if public is None:
        return
    if isinstance(value, type):
        yield from _compiled_class(_join(public, name), value)
    elif inspect.isroutine(value):  # not the objects that `site` adds, such as credits
        yield from _described(_join(public, name), value)


def _compiled_class(name: str, cls: type) -> Iterator[Passage]:
    yield from _described(name, cls)
    for key, member in sorted(vars(cls).items()):
        if not key.startswith("_"):
            yield from _described(f"{name}.{key}", member)


def _described(name: str, value: object) -> Iterator[Passage]:
    doc = getattr(value, "__doc__", None)
    if not isinstance(doc, str) or not doc.strip():
        return
    # inspect.signature would evaluate the defaults, which fails for some modules.
    signature = getattr(value, "__text_signature__", None) or ""
    yield Passage(name, name + _short(signature), inspect.cleandoc(doc))
