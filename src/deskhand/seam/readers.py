"""Which shell commands only read: a strict list of programs, with the flags that would make them write left out."""

from __future__ import annotations

from collections.abc import Sequence

from deskhand.seam import programs
from deskhand.seam.words import Command, Redirect, Word, has_flag, names_in


def only_reads(command: Command) -> bool:
    """Tell whether a simple command is on the strict list of what only reads."""
    if command.fed or not command.words or not all(word.is_plain for word in command.words):
        return False
    if not all(_is_harmless(redirect) for redirect in command.redirects):
        return False
    program, arguments = command.words[0].text, command.words[1:]
    folder, _, name = program.rpartition("/")
    if program != name and folder not in programs.SYSTEM_FOLDERS:
        return False
    if [word.text for word in arguments] == ["--version"]:
        return name in programs.VERSIONED
    if name == "git":
        return _git_only_reads(arguments)
    if name == "sed":
        return _sed_only_reads([word.text for word in arguments])
    if name == "command":
        return has_flag(arguments[:1], programs.flags("-v -V"))
    if name == "uniq" and len(names_in(arguments)) > 1:
        return False
    if name == "date" and not all(word.text.startswith("+") for word in names_in(arguments)):
        return False
    return name in programs.READERS and not has_flag(arguments, programs.READERS[name])


def _is_harmless(redirect: Redirect) -> bool:
    text = redirect.target.text
    if not redirect.target.is_plain:
        return False
    return text in programs.SCRATCH or (redirect.operator == "<" and text != "" and not text.startswith("/dev/"))


def _git_only_reads(arguments: Sequence[Word]) -> bool:
    own, rest = split_git(arguments)
    if any(word.text not in programs.GIT_OWN_READ for word in own if word.text.startswith("-")) or not rest:
        return False
    sub, following = rest[0].text, rest[1:]
    if sub in programs.GIT_READERS:
        return not has_flag(following, programs.GIT_NOT_READ)
    if sub in programs.GIT_LISTS:
        return all(word.text in programs.GIT_LISTS[sub] for word in following)
    return sub in programs.GIT_FIRST and bool(following) and following[0].text in programs.GIT_FIRST[sub]


def _sed_only_reads(arguments: list[str]) -> bool:
    names = [text for text in arguments if not text.startswith("-")]
    options = {text for text in arguments if text.startswith("-")}
    return bool({"-n"} <= options <= {"-n", "-E", "-r"} and names and programs.SED_PRINTS.fullmatch(names[0]))


def split_git(arguments: Sequence[Word]) -> tuple[Sequence[Word], Sequence[Word]]:
    """Divide git's arguments into its own options with their values, and the sub-command with what follows."""
    at = 0
    while at < len(arguments) and arguments[at].text.startswith("-"):
        at += 2 if arguments[at].text in programs.GIT_VALUED else 1
    return arguments[:at], arguments[at:]
