"""Put in place what `make` needs: uv, then the packages of uv.lock in `.venv`. Nothing outside this folder is changed.

Only the standard library, in syntax that Python 3.8 reads, so that an old Python gets a sentence and not a traceback.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".ready"
OWN_UV = ROOT / ".tools" / "uv"

OLDEST_PYTHON = (3, 11)
OLDEST_UV = (0, 8)
UV_VERSION = "0.13.9"
UV_WHEELS = {
    # what the wheel's name ends with: its sha256
    "macosx_10_12_x86_64": "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    "macosx_11_0_arm64": "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64": (
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe"
    ),
    "manylinux_2_28_aarch64": "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
    "manylinux_2_17_x86_64.manylinux2014_x86_64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "musllinux_1_1_x86_64": "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
}
# Without pip to choose: the wheels that run everywhere on such a machine (those for musl are linked statically).
UV_TAGS = {
    "Darwin arm64": "macosx_11_0_arm64",
    "Darwin x86_64": "macosx_10_12_x86_64",
    "Linux aarch64": "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
    "Linux x86_64": "musllinux_1_1_x86_64",
}
INSTALL_UV = "Check the network, or install uv yourself (docs.astral.sh/uv); then say make again."

SOCKET_SECONDS = 30
DOWNLOAD_SECONDS = 300
SYNC_SECONDS = 1800


class SetupError(Exception):
    """The set-up cannot go on; the message is for the user."""


def main() -> None:
    """Set up, or do nothing where the last set-up still holds."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"Deskhand needs Python 3.11 or newer, and {sys.executable} is {platform.python_version()}. "
            "Name a newer one: make run PYTHON=python3.12"
        )
    try:
        fingerprint = describe_inputs()
        if not is_ready(fingerprint):
            sync(find_uv() or install_uv())
            STAMP.write_text(fingerprint)
    except SetupError as error:
        sys.exit(f"Set-up failed: {error}")
    except OSError as error:
        sys.exit(f"Set-up failed: {error.strerror or error} ({error.filename or 'no file named'}).")
    except KeyboardInterrupt:
        sys.exit(130)


def describe_inputs() -> str:
    """Return a digest of all that the installation depends on: the lock, the project, this Python, this place."""
    digest = hashlib.sha256()
    for part in (str(ROOT), sys.version, platform.machine()):
        digest.update(part.encode() + b"\0")
    for name in ("pyproject.toml", "uv.lock"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_ready(fingerprint: str) -> bool:
    """Tell whether `.venv` was made from the same inputs, by a Python that is still there."""
    try:
        return STAMP.read_text() == fingerprint and (VENV / "bin" / "python").exists()
    except (OSError, ValueError):
        return False


def find_uv() -> str | None:
    """Return a uv that is recent enough: the one of an earlier set-up, or the user's own."""
    for candidate in (str(OWN_UV), shutil.which("uv")):
        if candidate and uv_version(candidate) >= OLDEST_UV:
            return candidate
    return None


def uv_version(program: str) -> tuple[int, ...]:
    """Return the version that the program says it has; an empty one where it does not run."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    numbers = re.match(r"uv (\d+)\.(\d+)", said)
    return tuple(map(int, numbers.groups())) if numbers else ()


def install_uv() -> str:
    """Fetch the pinned uv into `.tools` and return its path.

    Raises `SetupError` where it cannot be had, or is not what was pinned.
    """
    print(f"Fetching uv {UV_VERSION} into .tools (once) ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        unpack_uv(fetch_with_pip(Path(folder)) or fetch_from_index(Path(folder)))
    return str(OWN_UV)


def fetch_with_pip(folder: Path) -> Path | None:
    """Download uv's wheel with this Python's pip, which knows the user's mirrors and proxies; None where that fails."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [
        f"--timeout={SOCKET_SECONDS}",
        "--retries=1",
        "--disable-pip-version-check",
        f"--dest={folder}",
        f"uv=={UV_VERSION}",
    ]
    try:
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS, check=True)
    except subprocess.SubprocessError:
        return None  # Debian's python3 comes without pip: the plain download is next, and has its own error
    return next(folder.glob("uv-*.whl"), None)


def package_index() -> str:
    """Return the index that PIP_INDEX_URL names, else the one that the locked packages come from.

    Raises `SetupError` where neither is to be had.
    """
    if "PIP_INDEX_URL" in os.environ:
        return os.environ["PIP_INDEX_URL"].rstrip("/")
    locked = re.search('registry = "([^"]+)"', (ROOT / "uv.lock").read_text(encoding="utf-8"))
    if locked is None:
        raise SetupError(f"uv.lock names no package index. {INSTALL_UV}")
    return locked.group(1).rstrip("/")


def fetch_from_index(folder: Path) -> Path:
    """Download uv's wheel from the package index (PEP 503).

    Raises `SetupError` where the index cannot be reached, or there is no wheel for this machine.
    """
    machine = f"{platform.system()} {platform.machine()}"
    if machine not in UV_TAGS:
        raise SetupError(f"no uv is pinned for {machine}. {INSTALL_UV}")
    wheel = f"uv-{UV_VERSION}-py3-none-{UV_TAGS[machine]}.whl"
    page = f"{package_index()}/uv/"
    target = folder / wheel
    try:
        with urlopen(page, timeout=SOCKET_SECONDS) as answer:
            link = re.search(f'href="([^"#]*{re.escape(wheel)})', answer.read().decode())
        if link is None:
            raise SetupError(f"{page} does not list {wheel}. {INSTALL_UV}")
        with urlopen(urljoin(page, link.group(1)), timeout=SOCKET_SECONDS) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError) as error:
        raise SetupError(f"cannot fetch uv from {page}: {error}. {INSTALL_UV}") from None
    return target


def unpack_uv(wheel: Path) -> None:
    """Put the program of the wheel at `.tools/uv`.

    Raises `SetupError` where the wheel is not one of those that are pinned.
    """
    pinned = UV_WHEELS.get(wheel.stem.rpartition("-")[2])
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != pinned:
        raise SetupError(f"{wheel.name} is not the pinned one (sha256 {found}, not {pinned}). {INSTALL_UV}")
    OWN_UV.parent.mkdir(exist_ok=True)
    unfinished = OWN_UV.with_name(f"uv.{os.getpid()}")
    with zipfile.ZipFile(wheel) as archive:
        unfinished.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/uv"))
    unfinished.chmod(0o755)
    unfinished.replace(OWN_UV)


def sync(uv: str) -> None:
    """Make `.venv` hold exactly what uv.lock says, with everything that a developer needs.

    Raises `SetupError` where uv fails or takes too long.
    """
    # An environment of another project must not be the one that is filled.
    environment = {k: v for k, v in os.environ.items() if k not in ("UV_PROJECT_ENVIRONMENT", "VIRTUAL_ENV")}
    if has_certificates():
        environment.setdefault("UV_SYSTEM_CERTS", "1")  # uv's own list lacks the authority of a company's proxy
    command = [uv, "sync", "--quiet", "--frozen", "--extra", "all", "--group", "dev", "--python", sys.executable]
    print("Installing the packages of uv.lock into .venv (45 MB, once) ...", flush=True)
    try:
        subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, timeout=SYNC_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        raise SetupError(f"uv had not finished after {SYNC_SECONDS // 60} minutes. Say make again.") from None
    except subprocess.CalledProcessError as error:
        raise SetupError(
            f"uv ended with {error.returncode}, for the reason above. Mend it, and say make again."
        ) from None


def has_certificates() -> bool:
    """Tell whether this machine has a list of certificate authorities; a small container may have none."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))


if __name__ == "__main__":
    main()
