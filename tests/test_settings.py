"""Settings are typed, and the page about them is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from deskhand.settings import Settings, SettingsError, load_settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def test_a_missing_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "settings.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        ("nonsense = 1", "nonsense"),
        ("[limits]\nshell_quiet = 'x'", r"\$.limits.shell_quiet"),
        ("[limits]\nshell_quiet = -1", r"\$.limits.shell_quiet"),
        ("[limits\nx = 1", "line 1"),
        ("mode = 'fast'", r"\$.mode"),
        ("mode = 'bypass'", r"\$.mode"),
    ],
)
def test_an_error_names_the_place(tmp_path: Path, text: str, telling: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=telling):
        load_settings(path)


def test_the_example_of_the_docs_is_valid_and_complete(tmp_path: Path) -> None:
    """What the page shows as defaults are the defaults, and it shows every key."""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    uncommented = re.sub(r"^# (\w+ = )", r"\1", example, flags=re.MULTILINE)
    path = tmp_path / "settings.toml"
    path.write_text(uncommented)
    shown = load_settings(path)
    path.write_text(example)
    defaults = load_settings(path)
    assert defaults.limits == Settings().limits
    assert defaults.daemon == Settings().daemon
    keys = tomllib.loads(uncommented)
    for table, struct in (("endpoint", shown.endpoint), ("limits", shown.limits), ("daemon", shown.daemon)):
        assert set(keys[table]) == set(msgspec.structs.asdict(struct))
