"""How grave it is to write a file, judged by where it is."""

from __future__ import annotations

import os
from pathlib import Path

from deskhand.home import find_home
from deskhand.seam.risk import WRITE, Risk

# What runs by itself at the next login, start or git command. Names are below the home folder, lower case,
# because macOS tells no case apart.
_START_UP = (
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".kshrc",
    ".cshrc",
    ".tcshrc",
    ".login",
    ".inputrc",
    ".xprofile",
    ".xinitrc",
    ".xsession",
    ".xsessionrc",
    ".pam_environment",
    ".gitconfig",
    ".hgrc",
    ".vimrc",
    ".vim/plugin",
    ".emacs",
    ".emacs.d/init.el",
    ".pythonrc",
    ".config/fish",
    ".config/autostart",
    ".config/systemd/user",
    ".config/environment.d",
    ".config/plasma-workspace/env",
    ".config/git",
    ".config/nvim",
    ".local/share/systemd/user",
    ".local/share/applications",
    ".local/share/dbus-1",
    "library/launchagents",
    "library/launchdaemons",
)

# Keys and credentials: whoever writes them lets others in, or locks the user out.
_KEYS = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker/config.json",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".npmrc",
    ".yarnrc",
    ".pypirc",
    ".password-store",
    ".config/gcloud",
    ".config/gh",
    ".config/op",
    ".config/rclone",
    ".config/pip",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".local/share/keyrings",
    "library/keychains",
)

_SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/private/etc",
    "/private/var/at",
    "/proc",
    "/root",
    "/sbin",
    "/srv",
    "/sys",
    "/usr",
    "/var",
    "/Applications",
    "/Library",
    "/System",
)

# Below these, projects live too: for a session that works in one, what is inside of it is no system file.
_ROOMY = tuple(Path(name) for name in ("/opt", "/root", "/srv", "/usr/src", "/usr/local/src", "/var/lib", "/var/www"))

_GIT_SETTINGS = ("config", "config.worktree", "attributes")


def classify_write(path: Path, cwd: Path) -> Risk:
    """Return the risk of writing the file at `path`, absolute, for a session that works in `cwd`.

    `confirm` for start-up files, keys and credentials, places of the system and Deskhand's own state; else `write`,
    since a copy is kept. Symlinks are followed: what counts is the file that would change.
    """
    target, cwd = _real(path), _real(cwd)
    grave = _what_is_grave(target, cwd)
    if grave is not None:
        shown = f"{path}" if target == path else f"{path}, which is {target},"
        return Risk("confirm", f"{shown} {grave}")
    if _is_below(target, cwd) or _is_temporary(target):
        return WRITE
    return Risk("write", f"{target} is outside the working folder")


def _what_is_grave(target: Path, cwd: Path) -> str | None:
    """Say why a write of `target` reaches further than the file; None where it does not."""
    if _is_below(target, _real(find_home().root)):
        return "belongs to Deskhand's own state"
    if _is_in_home(target, _START_UP) or _is_obeyed_by_git(target):
        return "is run or obeyed by other programs when they start"
    if _is_in_home(target, _KEYS):
        return "holds keys or credentials"
    if _is_of_system(target, cwd):
        return "belongs to the system"
    return None


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _is_in_home(target: Path, names: tuple[str, ...]) -> bool:
    """Tell whether `target` is one of `names` below the home folder, or in one of them that is a folder."""
    home = _real(Path.home())
    if not _is_below(target, home):
        return False
    relative = target.relative_to(home).as_posix().lower()
    return any(relative == name or relative.startswith(f"{name}/") for name in names)


def _is_obeyed_by_git(target: Path) -> bool:
    """Tell a hook or the settings of any repository: git runs the one, and what the other names."""
    parts = [part.lower() for part in target.parts]
    for index, part in enumerate(parts):
        inner = parts[index + 1 :]
        if part == ".git" and inner and ("hooks" in inner or inner[-1] in _GIT_SETTINGS):
            return True
        is_bare = part.endswith(".git") and inner != []
        if is_bare and (inner[0] == "hooks" or inner == ["config"]):
            return True
    return False


def _is_of_system(target: Path, cwd: Path) -> bool:
    home = _real(Path.home())
    if _is_temporary(target) or (_is_below(target, home) and home != Path("/")):
        return False
    if _is_below(target, cwd) and any(folder in cwd.parents for folder in _ROOMY):
        return False
    return any(_is_below(target, Path(name)) for name in _SYSTEM)


def _is_temporary(target: Path) -> bool:
    # Not by the tempfile module, whose import takes 19 ms.
    names = (os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp")  # noqa: S108 - places to look at, not to write to
    return any(_is_below(target, _real(Path(name))) for name in names)
