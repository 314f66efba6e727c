"""The class of a write follows the place of the file that would really change."""

from __future__ import annotations

from pathlib import Path

import pytest

from deskhand.seam.files import classify_write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.delenv("DESKHAND_HOME", raising=False)
    return home


@pytest.mark.parametrize(
    "name",
    [
        ".bashrc",
        ".profile",
        ".zshrc",
        ".config/autostart/x.desktop",
        ".config/systemd/user/x.service",
        "Library/LaunchAgents/x.plist",
        ".gitconfig",
        ".ssh/authorized_keys",
        ".ssh/new/deep",
        ".aws/credentials",
        ".gnupg/gpg.conf",
        ".netrc",
        ".npmrc",
        ".deskhand/settings.toml",
        "work/.git/hooks/pre-commit",
        "work/.git/config",
        "work/.git/modules/sub/hooks/post-checkout",
        "mirror.git/hooks/update",
    ],
)
def test_start_up_and_key_files_need_a_yes(home: Path, name: str) -> None:
    risk = classify_write(home / name, home / "work")
    assert risk.klass == "confirm"
    assert name in risk.reason


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "/usr/bin/ls", "/boot/vmlinuz", "/var/spool/cron/crontabs/me", "/System/x"]
)
def test_places_of_the_system_need_a_yes(home: Path, name: str) -> None:
    assert classify_write(Path(name), home / "work").klass == "confirm"


def test_a_session_in_the_system_s_settings_is_no_exception(home: Path) -> None:
    assert classify_write(Path("/etc/hosts"), Path("/etc")).klass == "confirm"


@pytest.mark.parametrize("cwd", ["/opt/project", "/srv/site", "/usr/src/app"])
def test_a_project_in_a_roomy_place_may_write_its_own_files(home: Path, cwd: str) -> None:
    assert classify_write(Path(cwd, "src/main.py"), Path(cwd)).klass == "write"
    assert classify_write(Path(cwd).parent / "other/main.py", Path(cwd)).klass == "confirm"


@pytest.mark.parametrize(
    "name", ["work/a.py", "work/.gitignore", "work/.github/x.yml", "work/src/hooks/use.ts", "work/.git/HEAD"]
)
def test_files_of_the_working_folder_are_plain_writes(home: Path, name: str) -> None:
    risk = classify_write(home / name, home / "work")
    assert (risk.klass, risk.reason) == ("write", "")


def test_a_write_elsewhere_in_the_home_folder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    risk = classify_write(Path("/home/someone/other/a.py"), Path("/home/someone/work"))
    assert risk.klass == "write"
    assert "outside the working folder" in risk.reason


def test_temporary_folders_are_plain_writes(home: Path, tmp_path: Path) -> None:
    assert classify_write(tmp_path / "scratch/a", home / "work").reason == ""
    assert classify_write(Path("/tmp/a"), home / "work").reason == ""


def test_a_link_in_the_working_folder_counts_as_what_it_leads_to(home: Path) -> None:
    (home / "work/notes.txt").symlink_to(home / ".bashrc")
    (home / "work/keys").symlink_to(home / ".ssh", target_is_directory=True)
    assert classify_write(home / "work/notes.txt", home / "work").klass == "confirm"
    assert classify_write(home / "work/keys/id", home / "work").klass == "confirm"


def test_the_state_folder_is_found_where_the_environment_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKHAND_HOME", str(home / "work/state"))
    assert classify_write(home / "work/state/journal.db", home / "work").klass == "confirm"


def test_a_home_folder_that_is_the_root_does_not_open_the_system(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert classify_write(Path("/etc/passwd"), Path("/project")).klass == "confirm"
