"""The files below a folder, as `search` and `find_files` see them: in order, without what .gitignore excludes.

Patterns are those of gitignore(5). `.gitignore` files of the folders above count up to the repository's root, and so
does its `.git/info/exclude`; the user's global excludes do not. A nested repository has rules of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

LONGEST_GLOB = 1_000
"""Characters that a model may give; what `{a,b}` stands for takes time that grows with the square of them."""

_MOST_ALTERNATIVES = 64


class Glob:
    """A pattern for paths: `*`, `?`, `[…]` within a name, `**` across folders; without a slash, for names anywhere."""

    def __init__(self, pattern: str) -> None:
        anchored = "/" in pattern.rstrip("/")
        parts = pattern.strip("/").split("/")
        self._parts = [None if part == "**" else _name_regex(part) for part in (parts if anchored else ["**", *parts])]
        self._name = None if anchored else self._parts[-1]

    def matches(self, path: str) -> bool:
        """Tell whether the pattern fits the whole of the relative `path`."""
        if self._name is not None:
            return self._name.fullmatch(path.rpartition("/")[2]) is not None
        return _fits(self._parts, path.split("/"))


def _fits(pattern: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    """Match part by part, going back to the last `**` only, so that no pattern takes long."""
    at, position = 0, 0
    star, resume = -1, 0
    while position < len(names):
        part = pattern[at] if at < len(pattern) else None
        if at < len(pattern) and part is None:
            # At the end, `**` stands for one name at least: `a/**` is what is in a, not a itself.
            star, resume = at, position + (at == len(pattern) - 1)
            at, position = at + 1, resume
        elif part is not None and part.fullmatch(names[position]):
            at, position = at + 1, position + 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return position == len(names) and at == len(pattern)


def _name_regex(pattern: str) -> re.Pattern[str]:
    """Return the regex for a name. Stars match as little as they can and never try again (as in `fnmatch`)."""
    pieces = [""]
    for item in re.findall(r"\\.|\*+|\?|\[[!^]?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if item[0] == "*":
            pieces.append("")
        elif item == "?":
            pieces[-1] += "."
        elif item[0] == "[" and len(item) > 2:
            pieces[-1] += _class(item[1:-1])
        else:
            pieces[-1] += re.escape(item.removeprefix("\\") or item)
    first, *middle = pieces
    if not middle:
        return re.compile(first, re.DOTALL)
    *middle, last = middle
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last, re.DOTALL)


def _class(inner: str) -> str:
    negated = inner[0] in "!^"
    body = ""
    for first, last, single in re.findall("(.)-(.)|(.)", inner[1:] if negated else inner, re.DOTALL):
        if single or first > last:  # of a range like z-a, git takes the first character
            body += re.escape(single or first)
        else:
            body += f"{re.escape(first)}-{re.escape(last)}"
    if not body:  # [!] is not closed, and fits nothing
        return "(?!)"
    return f"[{'^' if negated else ''}{body}]"


def alternatives(pattern: str) -> list[str]:
    """Return what `{a,b}` in a pattern stands for, innermost first; at most 64 patterns."""
    found = [pattern]
    while len(found) < _MOST_ALTERNATIVES:
        index, braces = next(
            ((index, match) for index, one in enumerate(found) if (match := re.search(r"\{([^{}]*)\}", one))),
            (0, None),
        )
        if braces is None:
            break
        one = found.pop(index)
        found[index:index] = [one[: braces.start()] + each + one[braces.end() :] for each in braces[1].split(",")]
    return found


def path_filter(pattern: str) -> Callable[[str], bool]:
    """Return a test for relative paths: do they fit `pattern`, a glob that may have `{a,b}` in it?"""
    globs = [Glob(one) for one in alternatives(pattern)]
    return lambda path: any(glob.matches(path) for glob in globs)


class _Rule(msgspec.Struct, frozen=True):
    glob: Glob
    negated: bool
    only_folders: bool


class _Rules(msgspec.Struct, frozen=True):
    """The rules of one file, for paths below `base` (which ends in a slash)."""

    base: str
    rules: tuple[_Rule, ...]

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """Tell whether `path` is ignored; None where no rule says anything."""
        relative = path[len(self.base) :]
        for rule in reversed(self.rules):
            if (is_folder or not rule.only_folders) and rule.glob.matches(relative):
                return not rule.negated
        return None


def _read_rules(file: Path, base: str) -> tuple[_Rules, ...]:
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.is_file() else ""
    except OSError:
        return ()
    rules = tuple(rule for line in text.split("\n") if (rule := _rule(line)))
    return (_Rules(base, rules),) if rules else ()


def _rule(line: str) -> _Rule | None:
    line = line.removesuffix("\r")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    pattern = line.removeprefix("!")
    if not pattern.strip("/"):
        return None
    return _Rule(Glob(pattern), negated, pattern.endswith("/"))


def _rules_above(root: Path) -> tuple[_Rules, ...]:
    """Return the rules of the folders above `root`, from the repository's root down."""
    above: tuple[_Rules, ...] = ()
    folder = root
    while not os.path.lexists(folder / ".git") and folder != folder.parent:
        folder = folder.parent
        above = (*_rules_in(str(folder)), *above)
    return above


def _rules_in(folder: str) -> tuple[_Rules, ...]:
    """Return the rules that the files of a folder set, the weaker first."""
    base = folder if folder.endswith("/") else f"{folder}/"
    exclude = _read_rules(Path(folder, ".git/info/exclude"), base)
    return (*exclude, *_read_rules(Path(folder, ".gitignore"), base))


def walk(root: Path, stopped: Callable[[], bool] = lambda: False) -> Iterator[os.DirEntry[str]]:
    """Yield what is below the folder `root`, but folders, ignored files and `.git`, in the order of the names.

    `root` is absolute. Symlinks are yielded and not followed; folders that cannot be read are passed over. Ends
    early when `stopped` says so.
    """
    waiting = _entries(str(root), _rules_above(root))
    while waiting and not stopped():
        entry, rules = waiting.pop()
        if entry.is_dir(follow_symlinks=False):
            waiting += _entries(entry.path, rules)
        else:
            yield entry


def _entries(folder: str, rules: tuple[_Rules, ...]) -> list[tuple[os.DirEntry[str], tuple[_Rules, ...]]]:
    """Return what a folder holds and its rules do not exclude, last name first, each with the rules below it."""
    try:
        with os.scandir(folder) as found:
            entries = {entry.name: entry for entry in found}
    except OSError:
        return []
    if ".git" in entries:
        rules = ()
    if ".git" in entries or ".gitignore" in entries:
        rules = (*rules, *_rules_in(folder))
    kept = [entry for entry in entries.values() if entry.name != ".git" and not _is_ignored(entry, rules)]
    return [(entry, rules) for entry in sorted(kept, key=lambda entry: os.fsencode(entry.name), reverse=True)]


def _is_ignored(entry: os.DirEntry[str], rules: tuple[_Rules, ...]) -> bool:
    """Tell whether the rules exclude the entry: the nearest file that says anything decides."""
    is_folder = entry.is_dir(follow_symlinks=False)
    verdicts = (each.verdict(entry.path, is_folder) for each in reversed(rules))
    return next((verdict for verdict in verdicts if verdict is not None), False)
