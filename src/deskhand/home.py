"""Where Deskhand keeps its state: one private folder, `DESKHAND_HOME` (default `~/.deskhand`)."""

from __future__ import annotations

import os
import re
from pathlib import Path


class HomeError(Exception):
    """The state folder cannot be used; the message is one sentence for the user."""


class Home:
    """The layout of the state folder. Folders are made, 0700, when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def settings(self) -> Path:
        """The user's settings, TOML."""
        return self.root / "settings.toml"

    @property
    def journal(self) -> Path:
        """The journal, SQLite."""
        return self.root / "journal.db"

    def outputs(self, session: str) -> Path:
        """Return the folder for the session's long outputs, made if need be."""
        return self.folder("outputs", session)

    def remove_outputs(self, session: str) -> None:
        """Remove the session's long outputs; what cannot be removed stays."""
        import shutil  # only who deletes a session pays for it

        if re.fullmatch(r"[\w-]+", session):  # as all ids of ours; any other name might lead elsewhere
            shutil.rmtree(self.root / "outputs" / session, ignore_errors=True)

    def logs(self) -> Path:
        """Return the folder of the logs, made if need be."""
        return self.folder("logs")

    def run(self) -> Path:
        """Return the folder of locks and run-time records, made if need be."""
        return self.folder("run")

    def folder(self, *names: str) -> Path:
        """Return a folder below the root, made if need be, private to the user.

        Raises `HomeError` where it cannot be made.
        """
        path = self.root
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in names:
                path = path / name
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"Cannot use {path} for Deskhand's state: {error.strerror}. "
                "Make it writable, or set DESKHAND_HOME to a folder that is."
            ) from None
        return path


def find_home(environment: dict[str, str] | os._Environ[str] | None = None) -> Home:
    """Return the user's home, as `DESKHAND_HOME` says, else `~/.deskhand`.

    Raises `HomeError` where that names no place.
    """
    configured = (os.environ if environment is None else environment).get("DESKHAND_HOME")
    try:
        root = Path(configured or "~/.deskhand").expanduser().absolute()
        str(root).encode()
    except UnicodeEncodeError:
        raise HomeError(f"The name {str(root)!r} is not UTF-8: set DESKHAND_HOME to a folder whose name is.") from None
    except (RuntimeError, OSError):  # no home folder is known, or the folder that a relative name starts from is gone
        raise HomeError(
            "There is no folder for Deskhand's state: set DESKHAND_HOME to one, by its full name."
        ) from None
    return Home(root)
