"""Reading and replacing the user's files without losing a byte: what the tools on files share."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Concatenate, ParamSpec, TypeVar

from deskhand.journal.events import Hunk
from deskhand.tools.base import Resources, ToolError, resolve
from deskhand.tools.text import head_and_tail, human_size, visible

LARGEST_WHOLE = 50_000_000
"""Bytes of the largest file that is held whole: read with its digest, overwritten, or edited."""

HUNK_LIMIT = 20_000
"""Characters of either side of a hunk; a longer one keeps its head and tail."""

_CONTEXT = 3
_MOST_HUNKS = 20

P = ParamSpec("P")
R = TypeVar("R")

Stopped = Callable[[], bool]
"""Tells long work in a thread that nobody waits for it any more."""


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def real(path: Path) -> Path:
    """Return `path` with all symlinks followed, whether or not it exists: the one name a file is known by."""
    return Path(os.path.realpath(path))


def reads(text: str, cwd: Path) -> Resources:
    """Return the resources of a call that reads the file or folder at `text`, a path as the model gave it."""
    return Resources(reads=frozenset({real(resolve(cwd, text))}))


def writes(text: str, cwd: Path) -> Resources:
    """Return the resources of a call that writes the file at `text`, a path as the model gave it."""
    return Resources(writes=frozenset({real(resolve(cwd, text))}))


def name_of(path: str | Path) -> str:
    """Return the path as the journal has it: bytes of a name that are no UTF-8 are `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def show_path(path: str | Path, cwd: Path) -> str:
    """Return the path for a model: relative where it is below `cwd`, on one line, valid text."""
    below = os.path.join(cwd, "")  # noqa: PTH118 - the one slash that a cwd of / has already
    return visible(name_of(path).removeprefix(below)).replace("\n", "\\n")


def is_folder(path: Path) -> bool:
    """Tell whether `path` is a folder; False also where the system does not say (`Path.is_dir` raises then)."""
    try:
        return path.is_dir()
    except OSError:
        return False


def check_searchable(path: Path) -> None:
    """Raise `ToolError` where `path` is neither a folder nor a regular file, or cannot be read."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ToolError(_missing(path)) from None
    except OSError as error:
        raise ToolError(f"Cannot look into {path}: {error.strerror}.") from None
    if not stat.S_ISDIR(status.st_mode):
        check_regular(path, status)
    if not os.access(path, os.R_OK):
        raise ToolError(f"Cannot look into {path}: {os.strerror(errno.EACCES)}.")


def check_regular(path: Path, status: os.stat_result) -> None:
    """Raise `ToolError` where `status` is of anything but a regular file."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        raise ToolError(f"{path} is {kind}, not a file.")


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading, without ever waiting on a pipe or a device.

    Raises `ToolError` where it is none, or cannot be opened; a missing file's error names the nearest ones.
    """
    try:
        check_regular(path, path.stat())
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ToolError(_missing(path)) from None
    except OSError as error:
        raise ToolError(f"Cannot read {path}: {error.strerror}.") from None
    file = os.fdopen(descriptor, "rb")
    try:
        # Once more: it may have become something else since it was looked at.
        check_regular(path, os.fstat(descriptor))
    except ToolError:
        file.close()
        raise
    return file


def read_some(file: IO[bytes], size: int) -> bytes:
    """Return up to `size` bytes; none where others would have to be waited for, as in some files of /proc."""
    return file.read(size) or b""  # None: the read would block (io.BufferedReader)


def _missing(path: Path) -> str:
    """Say that `path` does not exist, and what is near it."""
    if not is_folder(path.parent):
        return f"{path} does not exist, nor does its folder {path.parent}."
    import difflib  # 5 ms that only a wrong name pays

    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(5_000), strict=False)]
    except OSError:
        names = []
    lower = {name.lower(): name for name in names}
    near = [lower[name] for name in difflib.get_close_matches(path.name.lower(), lower, n=3, cutoff=0.5)]
    hint = f" Near it: {', '.join(near)}." if near else " find_files finds files by a part of their name."
    return f"{path} does not exist.{hint}"


def read_whole(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises `ToolError`, also where it is larger than `LARGEST_WHOLE`."""
    with open_regular(path) as file:
        try:
            data = read_some(file, LARGEST_WHOLE + 1)
        except OSError as error:
            raise ToolError(f"Cannot read {path}: {error.strerror}.") from None
    if len(data) > LARGEST_WHOLE:
        size = human_size(max(path.stat().st_size, len(data)))
        raise ToolError(
            f"{path} has {size}, too large to change here with a copy kept: use a command (sed -i, or a script)."
        )
    return data


def check_seen(path: Path, data: bytes, seen: Mapping[str, str]) -> None:
    """Raise `ToolError` where the model has seen the file, but not as it now is."""
    known = seen.get(name_of(real(path)))
    if known is not None and known != digest(data):
        raise ToolError(f"{path} has changed on disk since you last read or wrote it. Read it again, then decide.")


def replace(path: Path, data: bytes) -> None:
    """Make `data` the content of the file at `path`, all of it or nothing, durably.

    The folders above are made. A symlink stays, and its target is replaced; mode, owner and extended attributes
    are kept. Raises `ToolError`: the file, where there was one, is then as it was, and nothing else is left.
    """
    target = real(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        status = _status(target)
        if status is None:
            _replace_by_rename(target, data, None)
            return
        check_regular(path, status)
        check_writable(path, status)
        if _must_stay(target, status) or not _renamed_over(target, data, status):
            _overwrite(target, data)
    except OSError as error:
        raise ToolError(_write_failure(path, error)) from None


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None


def check_writable(path: Path, status: os.stat_result) -> None:
    """Raise `ToolError` where the file, or `status`, says that it is not to be written."""
    # A file that nobody may write was protected on purpose; root, and a rename, would not even notice.
    if status.st_mode & 0o222 == 0 or not os.access(path, os.W_OK):
        mode = stat.filemode(status.st_mode)
        raise ToolError(f"{path} is write-protected ({mode}): if it should change all the same, chmod u+w it first.")


def _must_stay(target: Path, status: os.stat_result) -> bool:
    """Tell whether the file must be overwritten in place, because a new one could not be the same.

    A rename would part a file from its other hard links, or give it a new owner; or the folder allows none.
    """
    another_owner = status.st_uid != os.geteuid() != 0
    return status.st_nlink > 1 or another_owner or not os.access(target.parent, os.W_OK | os.X_OK)


def _renamed_over(target: Path, data: bytes, status: os.stat_result) -> bool:
    """Replace the file; False where it is a mount point of its own, as in containers, and can only be written."""
    try:
        _replace_by_rename(target, data, status)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _replace_by_rename(target: Path, data: bytes, status: os.stat_result | None) -> None:
    temporary = target.with_name(f".deskhand-{os.urandom(8).hex()}.tmp")
    # 0o666 less the umask: the mode that any program's new file has.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if status is not None:
                _copy_attributes(target, file.fileno(), status)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _copy_attributes(source: Path, descriptor: int, status: os.stat_result) -> None:
    """Give the new file the owner, mode and extended attributes (ACLs are such) of the old one."""
    with contextlib.suppress(PermissionError):  # the group may be one that we are not in
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    if hasattr(os, "listxattr"):  # Linux
        with contextlib.suppress(OSError):  # not every file system has them, and some are not ours to set
            for name in os.listxattr(source):
                os.setxattr(descriptor, name, os.getxattr(source, name))


def _overwrite(target: Path, data: bytes) -> None:
    """Write over the file in place; where that fails, put back what was there."""
    with target.open("r+b") as file:
        before = file.read()
        try:
            _rewrite(file, data)
        except OSError:
            # Its blocks are still the file's, so that this needs no space.
            _rewrite(file, before)
            raise


def _rewrite(file: IO[bytes], data: bytes) -> None:
    file.seek(0)
    file.write(data)
    file.flush()
    file.truncate(len(data))
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_failure(path: Path, error: OSError) -> str:
    reasons = {
        errno.ENOSPC: "the disk is full. Free some space, then try again",
        errno.EDQUOT: "your disk quota is used up. Free some space, then try again",
        errno.EROFS: "it is on a read-only file system",
        errno.EACCES: "the system does not permit it",
        errno.EPERM: "the system does not permit it",
        errno.ENOTDIR: "a part of its path is a file, not a folder",
        errno.EEXIST: "a part of its path is a file, not a folder",
        errno.ENAMETOOLONG: "the name is too long",
        errno.ELOOP: "its symlinks lead in a circle",
        errno.EFBIG: "it would be larger than a file may be here",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f"Cannot write {path}: {reason}. No file was changed."


async def stoppable(function: Callable[Concatenate[Stopped, P], R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Run long work that changes nothing in a thread, and tell it to end when the call is stopped."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(function, stop.is_set, *arguments, **keywords)
    finally:
        stop.set()


async def to_the_end(function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Run a function that changes a file in a thread, and know its outcome even when the call is being stopped.

    A thread cannot be stopped; a stopped call waits half a second for what is nearly always done by then, so that
    the change is on record. Raises `CancelledError` only where it is not.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **keywords))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait({work}, timeout=0.5)
        if not done:
            raise
        return work.result()


def pieces_between(before: str, after: str) -> list[tuple[str, str]]:
    """Return the change from `before` to `after` as pieces (see `hunks`): same lines, different ones, same lines."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    middle = ("".join(old[start : len(old) - end]), "".join(new[start : len(new) - end]))
    prefix, suffix = "".join(old[:start]), "".join(old[len(old) - end :])
    return [(prefix, prefix), middle, (suffix, suffix)]


def _common(old: list[str], new: list[str]) -> int:
    """Return how many items both lists begin with."""
    count = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        count += 1
    return count


def hunks(pieces: Iterable[tuple[str, str]]) -> tuple[Hunk, ...]:
    """Return the change that `pieces` describe, as whole lines with three lines of context.

    The pieces are the file in order, each as (text before, text after), with LF newlines; equal ones are what
    stayed. At most 20 hunks, each of at most `HUNK_LIMIT` characters a side.
    """
    found: list[Hunk] = []
    line = 1
    old: list[str] = []
    new: list[str] = []
    changed = False
    for before, after in pieces:
        if before == after and not (changed and before.count("\n") <= 2 * _CONTEXT):
            if changed:
                following = _first_lines(before)
                found.append(_hunk(line, [*old, following], [*new, following]))
                if len(found) == _MOST_HUNKS:
                    return tuple(found)
            line += sum(part.count("\n") for part in (*old, before))
            context = _last_lines(before if changed else "".join([*old, before]))
            line -= context.count("\n")
            old, new, changed = [context], [context], False
        else:
            old.append(before)
            new.append(after)
            changed = changed or before != after
    if changed:
        found.append(_hunk(line, old, new))
    return tuple(found)


def _first_lines(text: str) -> str:
    """Return the rest of the line that `text` goes on with, and the context after it."""
    end = 0
    for _ in range(_CONTEXT + 1):
        end = text.find("\n", end) + 1
        if not end:
            return text
    return text[:end]


def _last_lines(text: str) -> str:
    """Return the context before the line that `text` ends in, and that line's beginning."""
    start = len(text)
    for _ in range(_CONTEXT + 1):
        start = text.rfind("\n", 0, start)
        if start < 0:
            return text
    return text[start + 1 :]


def _hunk(line: int, old: list[str], new: list[str]) -> Hunk:
    before, after = (head_and_tail("".join(parts), HUNK_LIMIT)[0] for parts in (old, new))
    return Hunk(line, before, after)
