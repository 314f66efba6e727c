"""A shell command as the simple commands in it: words with their quoting undone, redirections, what is fed in.

This is not a shell. It knows enough of the grammar (POSIX.1-2024, Shell Command Language, and what bash adds)
to find every command that a line may run, in substitutions, subshells, loops and here-documents too, in one
pass. Where it sees no sense it says so, and does not guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

DEPTH = 40
"""Substitutions and `${…}` within each other that are followed."""

WORDS = 20_000
"""Words that are read. Whatever has more is data, and belongs in a file or a here-document."""


class UnreadableError(Exception):
    """A quotation or substitution has no end, they are nested too deep, or there are too many words."""


class Word(msgspec.Struct):
    """A word. `literal`: its text is what the program gets. Else expansions stand in it as they were written."""

    text: str = ""
    literal: bool = True
    substituted: bool = False
    glob: bool = False
    quoted: bool = False
    pieces: list[str] = msgspec.field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether it is what it says, and no file's name can make an option of it."""
        return self.literal and not (self.glob and self.text[0] in "*?[-")

    def has(self, piece: str, *, literal: bool = True) -> None:
        """Add a piece while the word is being read."""
        self.pieces.append(piece)
        self.literal &= literal

    def done(self) -> Word:
        """Return the word with all of its pieces."""
        self.text = "".join(self.pieces)
        if self.text in ("[", "[["):
            self.glob = False
        return self


def names_in(words: Sequence[Word]) -> list[Word]:
    """Return the words that are no options."""
    return [word for word in words if not word.text.startswith("-")]


def has_flag(words: Sequence[Word], wanted: frozenset[str]) -> bool:
    """Tell whether one of the flags is among the words: by itself, in a bundle, with a value, or cut short."""
    letters = {flag[1] for flag in wanted if len(flag) == 2 and flag[0] == "-"}
    return any(_is_flag(word.text, wanted, letters) for word in words)


def _is_flag(text: str, wanted: frozenset[str], letters: set[str]) -> bool:
    if text in wanted:
        return True
    if text.startswith("--"):
        name = text.partition("=")[0]
        return len(name) > 3 and any(flag.startswith(name) or name.startswith(f"{flag}-") for flag in wanted)
    return text.startswith("-") and not letters.isdisjoint(text[1:])


class Redirect(msgspec.Struct, frozen=True):
    """A redirection, without the number of its descriptor: `>`, `>>`, `<`, `&>` and their like."""

    operator: str
    target: Word


class Command(msgspec.Struct):
    """A simple command. `fed`: its here-documents; `piped`: it reads what the one before writes, in `pipeline`."""

    pipeline: int
    piped: bool = False
    words: list[Word] = msgspec.field(default_factory=list)
    redirects: list[Redirect] = msgspec.field(default_factory=list)
    fed: str = ""


class Script(msgspec.Struct, frozen=True):
    """All commands that a text may run. `plain`: they are joined by `;`, `|`, `&&` and `||`, and by nothing else."""

    commands: list[Command]
    plain: bool


def parse(text: str) -> Script:
    """Return the commands in `text`. Takes time in proportion to its length. Raises `UnreadableError`."""
    reader = _Reader(text, depth=0)
    reader.read_list(closing="")
    return Script(reader.commands, reader.plain)


_BLANKS = re.compile(r"(?:[ \t]|\\\n)*")
_RUN = re.compile(r"[^ \t\n'\"\\$`;&|<>()*?\[{}]+")
_RUNS_UP_TO = {
    '"': re.compile(r"[^\"\\$`]+"),
    "}": re.compile(r"[^}'\"\\$`]+"),
    "": re.compile(r"[^\\$`]+"),
}
_OPERATOR = re.compile(r"\d*(?:<<<|<<-|<<|<>|>>|>\||[<>]&|[<>])|&>>|&>|;;&|;;|;&|\|\||\|&|&&|[;&|\n()]")
_SEPARATORS = frozenset({";", "\n", "|", "&&", "||"})
_VARIABLE = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]", re.ASCII)
_DESCRIPTOR = re.compile(r"\d+-?|-")
_BACKTICKED = re.compile(r"((?:[^`\\]|\\.)*)`", re.DOTALL)
_ANSI_C = re.compile(r"((?:[^'\\]|\\.)*)'", re.DOTALL)


class _Reader:
    """One pass over a text, which is at `at`."""

    def __init__(self, text: str, depth: int) -> None:
        self.text = text
        self.at = 0
        self.depth = depth
        self.commands: list[Command] = []
        self.plain = True
        self.pipelines = 0
        self.words = 0
        self.heredocs: list[tuple[Command, Word, bool]] = []
        if depth > DEPTH:
            raise UnreadableError

    def read_list(self, closing: str) -> None:
        """Read commands up to `closing` and past it, or to the end of the text where it is empty."""
        command = self._new_pipeline()
        while True:
            self._skip_blanks()
            if self.at >= len(self.text):
                if closing:
                    raise UnreadableError
                break
            operator = _OPERATOR.match(self.text, self.at)
            if self.text[self.at] == "#":
                self.at = self._line_end()
            elif operator is None:
                command.words.append(self._word())
            else:
                self.at = operator.end()
                if operator[0] == closing:
                    break
                command = self._operator(operator[0].lstrip("0123456789"), command)
        self._finish(command)

    def _new_pipeline(self) -> Command:
        self.pipelines += 1
        return Command(self.pipelines)

    def _finish(self, command: Command) -> None:
        if command.words or command.redirects:
            self.commands.append(command)

    def _operator(self, operator: str, command: Command) -> Command:
        """Take in the operator that was just passed; return the command that what follows belongs to."""
        if "<" in operator or ">" in operator:
            self._redirection(operator, command)
            return command
        if operator == ")":  # it ends a pattern of `case`, which is no command
            self.plain = False
            return self._new_pipeline()
        self._finish(command)
        if operator == "(":
            self._nested(")")
        elif operator == "\n":
            self._read_heredocs()
        self.plain &= operator in _SEPARATORS
        return Command(command.pipeline, piped=True) if operator in ("|", "|&") else self._new_pipeline()

    def _redirection(self, operator: str, command: Command) -> None:
        if operator in ("<", ">") and self.text.startswith("(", self.at):
            self.at += 1
            self._nested(")")
            command.words.append(Word("<()", literal=False, substituted=True))
            return
        self._skip_blanks()
        target = self._word()
        if operator == "<<<":
            command.fed += target.text + "\n"
        elif operator.startswith("<<"):
            self.plain = False
            self.heredocs.append((command, target, operator == "<<-"))
        elif not (operator.endswith("&") and _DESCRIPTOR.fullmatch(target.text)):
            command.redirects.append(Redirect(operator, target))

    def _read_heredocs(self) -> None:
        """Read the bodies that begin at this line, and the commands in those that the shell expands."""
        for command, delimiter, is_indented in self.heredocs:
            start = end = self.at
            while self.at < len(self.text):
                end, self.at = self.at, self._line_end() + 1
                line = self.text[end : self.at - 1]
                if (line.lstrip("\t") if is_indented else line) == delimiter.text:
                    break
                end = self.at
            body = self.text[start:end]
            command.fed += body
            if not delimiter.quoted:
                reader = _Reader(body, self.depth + 1)
                reader._expand(Word(), closing="")
                self.commands += reader.commands
        self.heredocs = []

    def _nested(self, closing: str) -> None:
        """Read the commands of a subshell or substitution that was just opened."""
        self.plain = False
        self._descend()
        outer, self.heredocs = self.heredocs, []
        self.read_list(closing)
        self.heredocs = outer
        self.depth -= 1

    def _descend(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise UnreadableError

    def _word(self) -> Word:
        self._count()
        word = Word()
        while self.at < len(self.text):
            run = _RUN.match(self.text, self.at)
            if run:
                self.at = run.end()
                word.has(run[0])
                continue
            character = self.text[self.at]
            if character in " \t\n;&|<>()":
                break
            self.at += 1
            self._special(character, word)
        return word.done()

    def _special(self, character: str, word: Word) -> None:
        """Take in a character that means something outside quotes, and what belongs to it."""
        if character == "'":
            end = self.text.find("'", self.at)
            if end < 0:
                raise UnreadableError
            word.quoted = True
            word.has(self.text[self.at : end])
            self.at = end + 1
        elif character == '"':
            word.quoted = True
            self._expand(word, closing='"')
        elif character == "\\":
            word.quoted = True
            word.has(self.text[self.at : self.at + 1].strip("\n"))  # a line goes on after a backslash
            self.at += 1
        elif character in "$`":
            self._expansion(character, word, is_quoted=False)
        else:
            word.glob |= character in "*?["
            # A brace alone is a reserved word; in a longer word it may stand for several.
            is_alone = not word.pieces and self.text[self.at : self.at + 1] in ("", " ", "\t", "\n", ";")
            word.has(character, literal=character != "{" or is_alone)

    def _expand(self, word: Word, closing: str) -> None:
        """Read what stands in double quotes, in `${…}` or in a here-document, up to `closing` and past it."""
        runs = _RUNS_UP_TO[closing]
        while self.at < len(self.text):
            run = runs.match(self.text, self.at)
            if run:
                self.at = run.end()
                word.has(run[0])
                continue
            character = self.text[self.at]
            self.at += 1
            if character == closing:
                return
            if character == "\\":
                following = self.text[self.at : self.at + 1]
                word.has(following.strip("\n") if following in '$`"\\\n' else "\\" + following)
                self.at += 1
            elif character in "$`":
                self._expansion(character, word, is_quoted=True)
            else:  # a quotation within braces
                self._special(character, word)
        if closing:
            raise UnreadableError

    def _expansion(self, character: str, word: Word, is_quoted: bool) -> None:
        """Take in what begins with `$` or a backtick."""
        following = self.text[self.at : self.at + 1]
        if character == "`":
            self._backticks(word)
        elif following == "(":
            self.at += 1
            self._nested(")")
            word.substituted = True
            word.has("$()", literal=False)
        elif following == "{":
            start, self.at = self.at, self.at + 1
            inner = Word()
            self._descend()
            self._expand(inner, closing="}")
            self.depth -= 1
            word.substituted |= inner.substituted
            self._variable(self.text[start + 1 : self.at - 1], word)
        elif following == "'" and not is_quoted:
            self._ansi_c(word)
        elif name := _VARIABLE.match(self.text, self.at):
            self.at = name.end()
            self._variable(name[0], word)
        elif following != '"' or is_quoted:
            word.has("$")

    def _backticks(self, word: Word) -> None:
        inside = _BACKTICKED.match(self.text, self.at)
        if not inside:
            raise UnreadableError
        self.at = inside.end()
        self.plain = False
        self._count()
        reader = _Reader(re.sub(r"\\([`\\$])", r"\1", inside[1]), self.depth + 1)
        reader.read_list(closing="")
        self.commands += reader.commands
        word.substituted = True
        word.has("$()", literal=False)

    def _ansi_c(self, word: Word) -> None:
        inside = _ANSI_C.match(self.text, self.at + 1)
        if not inside:
            raise UnreadableError
        self.at = inside.end()
        word.quoted = True
        word.has(inside[1], literal="\\" not in inside[1])

    def _variable(self, name: str, word: Word) -> None:
        # The home folder is the one value that is known; a path in it must be seen as one.
        word.has("~" if name == "HOME" and not word.pieces else f"${{{name}}}", literal=False)

    def _count(self) -> None:
        self.words += 1
        if self.words > WORDS:
            raise UnreadableError

    def _skip_blanks(self) -> None:
        blanks = _BLANKS.match(self.text, self.at)
        assert blanks is not None, "it matches the empty text"
        self.at = blanks.end()

    def _line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return end if end >= 0 else len(self.text)
