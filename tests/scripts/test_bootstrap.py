"""The set-up from nothing: what it does where the network, pip or the downloaded file are not what they should be.

A whole set-up from an empty folder is what `.ci/run` does.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import runpy
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's outer files, whose set-up writes nowhere else."""
    folder = tmp_path / "project"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/bootstrap.py", "pyproject.toml", "uv.lock"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of a package index on loopback which serves the folder `index`."""
    (tmp_path / "index" / "uv").mkdir(parents=True)
    handler = partial(SilentHandler, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def bootstrap(project: Path) -> dict[str, Any]:
    """Return the names of the project's bootstrap script."""
    return runpy.run_path(str(project / "scripts" / "bootstrap.py"))


def set_up(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up where neither uv nor pip is to be had."""
    no_pip = project.parent / "no-pip"
    no_pip.mkdir(exist_ok=True)
    (no_pip / "pip.py").write_text("raise SystemExit(1)\n")
    environment = {"PATH": "/nowhere", "PYTHONPATH": str(no_pip), "HOME": str(project), "no_proxy": "*"} | environment
    command = [sys.executable, str(project / "scripts" / "bootstrap.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_an_unreachable_index_is_one_sentence(project: Path) -> None:
    done = set_up(project, PIP_INDEX_URL="http://127.0.0.1:1/simple")
    assert done.returncode == 1
    assert done.stderr.startswith("Set-up failed: cannot fetch uv from http://127.0.0.1:1/simple/uv/: ")
    assert done.stderr.count("\n") == 1


def test_an_index_without_the_wheel_is_one_sentence(project: Path, tmp_path: Path, index: str) -> None:
    (tmp_path / "index" / "uv" / "index.html").write_text("<a href='uv-0.0.1-py3-none-any.whl'>uv</a>")
    done = set_up(project, PIP_INDEX_URL=index)
    assert done.returncode == 1
    assert "does not list uv-" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wheel_that_is_not_the_pinned_one_is_refused(project: Path, tmp_path: Path, index: str) -> None:
    names = bootstrap(project)
    wheels = [f"uv-{names['UV_VERSION']}-py3-none-{tag}.whl" for tag in names["UV_WHEELS"]]
    links = "".join(f'<a href="files/{wheel}#sha256=0">{wheel}</a>' for wheel in wheels)
    (tmp_path / "index" / "uv" / "index.html").write_text(links)
    (tmp_path / "index" / "uv" / "files").mkdir()
    for wheel in wheels:
        (tmp_path / "index" / "uv" / "files" / wheel).write_bytes(b"something else")
    done = set_up(project, PIP_INDEX_URL=index)
    assert done.returncode == 1
    assert "is not the pinned one" in done.stderr
    assert not (project / ".tools").exists()


def test_the_pinned_wheel_becomes_a_program(project: Path, tmp_path: Path) -> None:
    names = bootstrap(project)
    tag = next(iter(names["UV_WHEELS"]))
    wheel = tmp_path / f"uv-{names['UV_VERSION']}-py3-none-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"uv-{names['UV_VERSION']}.data/scripts/uv", "#!/bin/sh\necho uv 99.1.0\n")
    names["UV_WHEELS"][tag] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    names["unpack_uv"](wheel)
    assert [path.name for path in (project / ".tools").iterdir()] == ["uv"]
    assert names["uv_version"](str(project / ".tools" / "uv")) == (99, 1)
    assert names["find_uv"]() == str(project / ".tools" / "uv")


def test_programs_that_are_no_uv_have_no_version(project: Path, tmp_path: Path) -> None:
    names = bootstrap(project)
    broken = tmp_path / "uv"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert [names["uv_version"](str(program)) for program in (broken, tmp_path / "missing", "/bin/echo")] == [
        (),
        (),
        (),
    ]


def test_each_platform_without_pip_has_a_pinned_wheel(project: Path) -> None:
    names = bootstrap(project)
    assert set(names["UV_TAGS"].values()) <= set(names["UV_WHEELS"])
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in names["UV_WHEELS"].values())


def test_a_finished_set_up_holds_until_its_inputs_change(project: Path) -> None:
    names = bootstrap(project)
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (project / ".venv" / ".ready").write_text(names["describe_inputs"]())
    assert set_up(project).returncode == 0

    (project / "uv.lock").write_text("changed")
    assert set_up(project, PIP_INDEX_URL="http://127.0.0.1:1").returncode == 1


def test_a_copied_folder_is_set_up_anew(project: Path, tmp_path: Path) -> None:
    names = bootstrap(project)
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (project / ".venv" / ".ready").write_text(names["describe_inputs"]())
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, symlinks=True)
    assert set_up(copy, PIP_INDEX_URL="http://127.0.0.1:1").returncode == 1
