"""The class of a shell command, judged by its words.

This is advice, not a wall: whoever wants to hide a deletion from it can. It is there for what a model does in
good faith, and errs towards asking. `read` is a strict list: plain words, known programs, vetted flags. `confirm`
is what `programs` knows to be past recall or to reach others, wherever in the command it stands, also behind
wrappers and in code that is handed to a shell; a program whose name is not known until it runs; and what cannot be
parsed. All else is `write`. To delete a single named file below the working folder is `write`, since models do that
all the time, for files that they have made themselves; with -r, -f, a pattern or a variable, it is `confirm`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from deskhand.seam import programs
from deskhand.seam.files import classify_write
from deskhand.seam.programs import Rule, flags
from deskhand.seam.readers import only_reads, split_git
from deskhand.seam.risk import READ, WRITE, Risk, worst
from deskhand.seam.words import Command, Redirect, UnreadableError, Word, has_flag, names_in, parse

_PATIENCE = 2_000
"""Programs and paths that are looked at in one command; one with more is asked about."""

_DEPTH = 10
"""Code within code (`bash -c "bash -c …"`), and wrappers around wrappers, that are followed."""

_REASON = 200
"""Characters of a reason."""

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[[^\]]*\])?\+?=(.*)", re.DOTALL | re.ASCII)

_ADDED = Word("{}", literal=False)
"""A word that a program gets only when it runs."""


def classify(command: str, cwd: Path) -> Risk:
    """Return the class of a command that is about to run in `cwd`. Never raises; its time is linear in the length."""
    try:
        os.fsencode(command)
        risk = _Judge(cwd).code(command, depth=0)
        return Risk(risk.klass, risk.reason[:_REASON] + "…") if len(risk.reason) > _REASON else risk
    except UnicodeEncodeError:
        return WRITE  # half of a surrogate pair: no shell takes it
    except UnreadableError:
        if "\0" in command:
            return WRITE  # nor does any take this
        return Risk(
            "confirm",
            "the command cannot be parsed: a quote or substitution has no end, or it is nested too deeply or too long",
        )


class _Judge:
    """One look at one command. `here` follows `cd`; None where that went somewhere unknown."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.here: Path | None = cwd
        self.patience = _PATIENCE
        self.fetching: set[int] = set()
        self.losing: set[int] = set()

    def code(self, text: str, depth: int) -> Risk:
        """Return the class of shell code. Raises `UnreadableError`."""
        script = parse(text)
        if depth > _DEPTH or "\0" in text:
            raise UnreadableError
        if script.plain and all(map(only_reads, script.commands)):
            return READ
        return worst(WRITE, *(self._command(command, depth) for command in script.commands))

    def _command(self, command: Command, depth: int) -> Risk:
        words, assigned = _without_prefixes(command.words)
        risks = [self._redirect(redirect) for redirect in command.redirects]
        risks += _by_variables(assigned)
        if words:
            risks.append(self._program(words, command, depth))
        return worst(WRITE, *risks)

    def _program(self, words: Sequence[Word], command: Command, depth: int) -> Risk:
        """Judge a program by its name and arguments; `command` is the whole that it stands in."""
        self._lose_patience()
        if depth > _DEPTH:
            raise UnreadableError
        if not words[0].literal or words[0].glob:
            return Risk("confirm", f"the program {words[0].text!r} is not known before it runs")
        name, arguments = _name(words[0]), words[1:]
        if name in ("cd", "pushd"):
            self._change_folder(arguments)
        return worst(
            *_by_tables(name, arguments),
            *self._by_its_own(name, arguments),
            *self._by_files(name, arguments),
            *self._of_code(name, arguments, depth),
            *self._behind(name, arguments, command, depth),
            *self._of_input(name, arguments, command, depth),
        )

    def _by_its_own(self, name: str, arguments: Sequence[Word]) -> list[Risk]:
        """Judge the programs that fit no table."""
        if name == "rm" and self._deletes_much(arguments):
            return [_lost(name)]
        if name == "git":
            return self._by_git(*split_git(arguments))
        if name == "kill" and any(
            word.text == "0" or (word.text.startswith("-") and word.text not in ("-s", "-n")) for word in arguments[1:]
        ):
            return [Risk("confirm", "kill: it ends more than one process")]
        if name == "dd":
            return [self._target(Word(word.text[3:])) for word in arguments if word.text.startswith("of=")]
        if name.startswith("mkfs."):
            return [_lost(name)]
        if name == "curl" and _method(arguments) not in ("GET", "HEAD", "OPTIONS"):
            return [Risk("confirm", "curl: it may change something at the other end")]
        return []

    def _deletes_much(self, arguments: Sequence[Word]) -> bool:
        return has_flag(arguments, flags("-r -R --recursive -f --force")) or any(
            not word.literal or word.glob or self._is_outside(word.text) for word in names_in(arguments)
        )

    def _is_outside(self, text: str) -> bool:
        self._lose_patience()
        path = self._path(text)
        return path is None or classify_write(path, self.cwd) != WRITE

    def _by_git(self, own: Sequence[Word], arguments: Sequence[Word]) -> list[Risk]:
        """Judge git by its own options, and by the sub-command with its arguments."""
        settings = [word for word in own if not word.text.startswith("-") or "=" in word.text]
        if any(not word.literal or _runs_by_setting(*word.text.partition("=")[::2]) for word in settings):
            return [Risk("confirm", "git: it runs another program")]
        sub, names = _sub_command(arguments), names_in(arguments)[1:]
        if sub == "restore" and (not has_flag(arguments, flags("-S --staged")) or has_flag(arguments, flags("-W"))):
            return [_lost("git restore")]
        is_new = has_flag(arguments, flags("-b --orphan"))
        if sub == "checkout" and not is_new and (len(names) > 1 or any(self._exists(word.text) for word in names)):
            return [_lost("git checkout of a file")]
        if sub == "config" and len(names) > 1 and any(_runs_by_setting(word.text, names[-1].text) for word in names):
            return [Risk("confirm", "git config: it names a program that git will run")]
        return [
            Risk("confirm", f"git {sub}: {rule.reason}") for rule in programs.GIT_CONFIRMED if _fits(rule, arguments)
        ]

    def _by_files(self, name: str, arguments: Sequence[Word]) -> list[Risk]:
        """Judge a program by the files that it is given."""
        if name not in programs.READERS and name not in programs.LEAVES_START_UP:
            for word in arguments:
                if programs.START_UP.search(word.text.rpartition("=")[2]):
                    return [Risk("confirm", f"{name}: {word.text} is run when something starts, or holds keys")]
        names = names_in(arguments)
        if name in programs.COPIERS and not has_flag(arguments, flags("-t --target-directory")):
            names = names[-1:]
        elif name not in programs.COPIERS and name not in programs.WRITERS:
            names = []
        return [self._target(word) for word in names]

    def _redirect(self, redirect: Redirect) -> Risk:
        return WRITE if redirect.operator == "<" else self._target(redirect.target)

    def _target(self, word: Word) -> Risk:
        """Judge the writing of a file of which no copy is kept."""
        self._lose_patience()
        if word.text in programs.SCRATCH or word.text.startswith("/dev/fd/"):
            return WRITE
        if programs.START_UP.search(word.text):
            return Risk("confirm", f"{word.text} is run when something starts, or holds keys")
        path = self._path(word.text) if word.literal or word.text.startswith("~") else None
        risk = classify_write(path, self.cwd) if path else WRITE
        return risk if risk == WRITE else Risk("confirm", risk.reason)

    def _path(self, text: str) -> Path | None:
        """Return the file that a word names; None where that is not known."""
        try:
            path = Path(text).expanduser()
        except RuntimeError:  # the folder of a user that does not exist
            return None
        return self.here / path if self.here else path if path.is_absolute() else None

    def _exists(self, text: str) -> bool:
        self._lose_patience()
        path = self._path(text)
        return path is not None and os.path.lexists(path)

    def _change_folder(self, arguments: Sequence[Word]) -> None:
        names = names_in(arguments)
        is_known = len(names) == 1 and names[0].literal and not names[0].glob
        self.here = self._path(names[0].text) if is_known else None

    def _of_code(self, name: str, arguments: Sequence[Word], depth: int) -> list[Risk]:
        """Judge the code among the arguments: that for a shell by its commands, other code only where it is unknown."""
        code: Sequence[Word] = ()
        if name == "eval":
            is_known = not any(word.substituted for word in arguments)
            code = [Word(" ".join(word.text for word in arguments), substituted=not is_known)]
        elif name == "trap":
            code = arguments[:1]
        elif name in programs.SHELLS or name in programs.INTERPRETERS:
            code = _code_argument(arguments, programs.INTERPRETERS.get(name, "c"))
        if any(word.substituted for word in code) or (_takes_code(name) and _is_from_command(arguments)):
            return [_unknown_code(name)]
        return [] if name in programs.INTERPRETERS else [self.code(word.text, depth + 1) for word in code]

    def _behind(self, name: str, arguments: Sequence[Word], command: Command, depth: int) -> list[Risk]:
        """Judge the commands that a wrapper may run."""
        risks: list[Risk] = []
        added = [_ADDED] if name in programs.FEEDERS else []
        starts: list[int] = []
        if name in programs.WRAPPERS:
            starts = _program_positions(arguments, programs.WRAPPERS[name])
            risks += _by_variables(_assignments(arguments))
        elif name in ("find", "fd"):
            added = [_ADDED]
            starts = [at + 1 for at, word in enumerate(arguments[:-1]) if word.text in programs.EXEC_FLAGS]
        if name in programs.CODE_WRAPPERS:
            risks += [self.code(word.text, depth + 1) for word in arguments if " " in word.text]
        return risks + [self._program([*arguments[at:], *added], command, depth + 1) for at in starts]

    def _of_input(self, name: str, arguments: Sequence[Word], command: Command, depth: int) -> list[Risk]:
        """Judge what a program is fed by a pipe or a here-document."""
        if name in programs.FETCHERS:
            self.fetching.add(command.pipeline)
        if programs.SQL_LOSES.search(command.fed) or any(programs.SQL_LOSES.search(word.text) for word in arguments):
            self.losing.add(command.pipeline)
        if name in programs.SQL_CLIENTS and command.pipeline in self.losing:
            return [Risk("confirm", f"{name}: it changes or deletes data for good")]
        if names_in(arguments) and not has_flag(arguments, flags("-s")):
            return []
        if name in programs.SHELLS:
            return [_unknown_code(name) if command.piped else self.code(command.fed, depth + 1)]
        if name in programs.INTERPRETERS and command.piped and command.pipeline in self.fetching:
            return [_unknown_code(name)]
        return []

    def _lose_patience(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise UnreadableError


def _by_tables(name: str, arguments: Sequence[Word]) -> list[Risk]:
    risks = [
        Risk("confirm", f"{name}: {rule.reason}") for rule in programs.CONFIRMED.get(name, ()) if _fits(rule, arguments)
    ]
    if name in programs.ASKS_UNLESS:
        texts = [word.text for word in arguments]
        is_asking = any(re.split(r"[-_:]", text)[0] in programs.ASKS_STILL for text in texts[:4])
        if is_asking or not any(text.startswith(tuple(programs.ASKS_UNLESS[name])) for text in texts[:4]):
            risks.append(Risk("confirm", f"{name}: it may change an account, other machines or the system"))
    return risks


def _fits(rule: Rule, arguments: Sequence[Word]) -> bool:
    """Tell whether a rule's sub-command stands first (an option and its value may come before), and a flag anywhere."""
    pending = list(rule.sub)
    after_option = False
    for word in arguments:
        if not pending:
            break
        if word.text.startswith("-"):
            after_option = True
        elif word.text == pending[0]:
            after_option = False
            pending.pop(0)
        elif after_option:
            after_option = False
        else:
            return False
    return not pending and (not rule.flags or has_flag(arguments, rule.flags))


def _without_prefixes(words: list[Word]) -> tuple[list[Word], list[tuple[str, str]]]:
    """Return a command without the shell's own words and the assignments before it; and these."""
    assigned: list[tuple[str, str]] = []
    at = 0
    while at < len(words):
        word, text = words[at], "" if words[at].quoted else words[at].text
        if text in programs.NO_COMMAND:
            while at < len(words) and words[at].text not in programs.OPENING:
                at += 1
            continue
        assignment = _ASSIGNMENT.fullmatch(word.text)
        if assignment:
            assigned.append((assignment[1], assignment[2]))
        elif text not in programs.RESERVED:
            break
        at += 1
    return words[at:], assigned


def _assignments(words: Sequence[Word]) -> list[tuple[str, str]]:
    found = [_ASSIGNMENT.fullmatch(word.text) for word in words]
    return [(match[1], match[2]) for match in found if match]


def _by_variables(assigned: list[tuple[str, str]]) -> list[Risk]:
    return [
        Risk("confirm", f"{name}: its value is run as a program")
        for name, value in assigned
        if programs.ENVIRONMENT_RUNS.fullmatch(name) and value not in programs.HARMLESS_VALUES
    ]


def _program_positions(arguments: Sequence[Word], own: int) -> list[int]:
    """Return where a wrapper's program may stand, after `own` words: which options take a value is not known."""
    found: list[int] = []
    after_option = False
    for at, word in enumerate(arguments):
        if word.text.startswith("-") and word.text != "-":
            after_option = "=" not in word.text
        elif not _ASSIGNMENT.fullmatch(word.text):
            found.append(at)
            own -= not after_option
            after_option = False
            if own < 0:
                break
    # A word that may be an option's value is no unknown program.
    return [at for at in found if arguments[at].literal or at == found[-1]]


def _runs_by_setting(key: str, value: str) -> bool:
    return bool(programs.GIT_RUNS.search(key)) and value not in programs.HARMLESS_VALUES


def _code_argument(arguments: Sequence[Word], letter: str) -> list[Word]:
    """Return the code that stands after the flag of `letter`."""
    for at, word in enumerate(arguments):
        if word.text.startswith("-") and not word.text.startswith("--") and letter in word.text[1:]:
            return names_in(arguments[at + 1 :])[:1]
    return []


def _is_from_command(arguments: Sequence[Word]) -> bool:
    """Tell whether a file to run is `<(…)`."""
    return any(word.text == "<()" for word in arguments)


def _takes_code(name: str) -> bool:
    return name in programs.SHELLS or name in programs.INTERPRETERS or name in ("source", ".")


def _method(arguments: Sequence[Word]) -> str:
    """Return the HTTP method that curl is told."""
    for at, word in enumerate(arguments):
        named = re.fullmatch(r"(?:--request|-[a-zA-Z]*?X)=?(.*)", word.text, re.DOTALL)
        if named:
            return (named[1] or "".join(following.text for following in arguments[at + 1 : at + 2])).upper()
    return "GET"


def _sub_command(arguments: Sequence[Word]) -> str:
    return arguments[0].text if arguments else ""


def _name(word: Word) -> str:
    return word.text.rpartition("/")[2].lower()


def _lost(name: str) -> Risk:
    return Risk("confirm", f"{name}: what it deletes cannot be brought back")


def _unknown_code(name: str) -> Risk:
    return Risk("confirm", f"{name}: the code is not known before it runs")
