"""The state folder is private, and says so when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from deskhand.home import Home, HomeError, find_home


def test_folders_are_made_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b")
    for folder in (home.folder(), home.outputs("s"), home.logs(), home.run()):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"Cannot use .*file.* Deskhand's state: Not a directory.*DESKHAND_HOME"):
        Home(tmp_path / "file" / "home").folder()


def test_the_environment_says_where(tmp_path: Path) -> None:
    assert find_home({"DESKHAND_HOME": str(tmp_path)}).root == tmp_path
    assert find_home({}).root == Path.home() / ".deskhand"
    assert find_home({"DESKHAND_HOME": "relative"}).root == Path.cwd() / "relative"
