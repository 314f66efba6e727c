"""Check the house's rules on every Python file: which room imports which, what the core never touches, its length.

    python scripts/check_arrows.py [FOLDER]

Imports inside functions and under `if TYPE_CHECKING` count: a lazy wrong arrow is a wrong arrow. Ends with 1 where a
rule is broken, one line for each place.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

# A room may import itself, the support modules (the files beside the rooms), and the rooms of its row.
ARROWS = {
    "journal": "",
    "model": "journal",
    "seam": "journal",
    "tools": "seam journal",
    "fleet": "seam journal",
    "calls": "seam tools fleet journal",
    "agent": "calls seam tools model journal",
    "engines": "calls seam tools fleet journal",
    "daemon": "agent engines calls seam tools fleet model journal",
    "panel": "daemon agent engines calls seam tools fleet model journal",
    "cli": "daemon agent engines calls seam tools fleet model journal",
    "surfaces": "",
}
ALLOWED = {room: frozenset(names.split()) for room, names in ARROWS.items()}

# Support modules serve every room, so they know none; the plain types of the journal are words that all share.
SHARED_TYPES = frozenset({"journal.events", "journal.blocks"})
# `python -m deskhand` is a command like those of `cli`.
ROOM_OF_MODULE = {"__main__": "cli"}

FOLDERS = ("src", "tests", "benchmarks", "scripts")
CORE = frozenset({"journal", "agent", "calls", "seam", "model"})
BANNED_IN_CORE = (
    *("argparse", "optparse"),
    *("aiohttp.web", "fastapi", "flask", "http.server", "starlette", "uvicorn"),
    *("curses", "mss", "prompt_toolkit", "rich", "textual", "tkinter"),
)
# The scratch program that `deskhand demo` mends is content, not a part of us.
CONTENT = "src/deskhand/demo/repository/"
LONGEST_FILE = 500
FUTURE_IMPORT = "from __future__ import annotations"


def main(arguments: list[str]) -> int:
    """Check the repository, or the one in the folder that is named; print what is wrong and return the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    paths = [path for folder in FOLDERS for path in sorted(root.glob(f"{folder}/**/*.py"))]
    files = [path for path in paths if not path.relative_to(root).as_posix().startswith(CONTENT)]
    wrong = [f"{path.relative_to(root)}:{fault}" for path in files for fault in check_file(path, root / "src/deskhand")]
    print("\n".join([*wrong, f"{len(files)} files, {len(wrong)} against the rules of scripts/check_arrows.py"]))
    return 1 if wrong else 0


def check_file(path: Path, package: Path) -> Iterator[str]:
    """Yield `LINE: what is wrong` for each rule that the file breaks."""
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        yield f"{error.lineno}: is not Python: {error.msg}"
        return
    if not starts_with_future_import(tree):
        yield f"1: does not begin with `{FUTURE_IMPORT}`"
    if package in path.parents:
        lines = source.count(b"\n")
        if lines > LONGEST_FILE:
            yield f"{LONGEST_FILE + 1}: has {lines} lines; {LONGEST_FILE} are enough for one file"
        yield from check_imports(tree, path, package)


def starts_with_future_import(tree: ast.Module) -> bool:
    """Tell whether the first statement makes annotations lazy; a file of nothing but a docstring has none."""
    statements = tree.body if ast.get_docstring(tree) is None else tree.body[1:]
    return not statements or ast.unparse(statements[0]) == FUTURE_IMPORT


def check_imports(tree: ast.Module, path: Path, package: Path) -> Iterator[str]:
    """Yield `LINE: what is wrong` for each import that the file's room may not have."""
    module = path.relative_to(package).with_suffix("").parts
    room = room_of(module, package)
    if room not in ALLOWED and room != "support":
        yield f"1: the room `{room}` is not in the table of scripts/check_arrows.py"
        return
    for line, target in imported_modules(tree, ("deskhand", *module[:-1])):
        own, _, inner = target.partition(".")
        if own == "deskhand" and inner:
            fault = wrong_arrow(room, room_of(tuple(inner.split(".")), package), inner)
        else:
            fault = banned_import(room, target)
        if fault:
            yield f"{line}: {fault}"


def room_of(module: tuple[str, ...], package: Path) -> str:
    """Return the room of a module of ours: its folder, or "support" for the files beside the rooms."""
    if module[0] in ROOM_OF_MODULE:
        return ROOM_OF_MODULE[module[0]]
    return module[0] if module[0] in ALLOWED or (package / module[0]).is_dir() else "support"


def wrong_arrow(room: str, target_room: str, target: str) -> str | None:
    """Return why a file of `room` may not import our module `target`, or None."""
    if target_room in (room, "support"):
        return None
    if room == "support":
        shared = any(target == name or target.startswith(f"{name}.") for name in SHARED_TYPES)
        return None if shared else f"a support module imports no room, and this imports {target}"
    if target_room in ALLOWED[room]:
        return None
    may = ", ".join(sorted(ALLOWED[room])) or "no other room"
    return f"{room} may not import {target_room} (it may import {may})"


def banned_import(room: str, target: str) -> str | None:
    """Return why a file of `room` may not import the foreign module `target`, or None."""
    if room not in CORE or not any(target == name or target.startswith(f"{name}.") for name in BANNED_IN_CORE):
        return None
    return (
        f"{room} belongs to the core, which knows no command line, no server and no screen, and this imports {target}"
    )


def imported_modules(tree: ast.Module, parents: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of every module that may be imported, wherever in the file.

    `from a import b` counts as `a.b`, for `b` may be a module; a name inside a module still begins with its module.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom(level=0):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            case ast.ImportFrom():
                above = parents[: len(parents) - node.level + 1]
                base = ".".join([*above, node.module] if node.module else above)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
            case ast.Call(func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module")):
                match node.args:
                    case [ast.Constant(value=str(name)), *_]:
                        yield node.lineno, name
            case _:
                pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
