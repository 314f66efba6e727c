"""An export holds all that the session holds, and no content breaks its form."""

from __future__ import annotations

import asyncio
import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from deskhand.journal.blocks import Image, Text, ToolUse
from deskhand.journal.events import CallFinished, Entry, Event, FileChange, MessageReceived, TurnStarted
from deskhand.journal.export import blobs_of, json_lines, markdown
from deskhand.journal.store import Journal
from event_strategies import events
from journal_support import answer, created, ended, execute, finished, image_result, prompt, record, started


@settings(deadline=None, max_examples=50)
@given(st.lists(events, max_size=5))
def test_json_lines_give_the_same_events(tmp_path_factory: pytest.TempPathFactory, appended: list[Event]) -> None:
    journal = Journal.open(tmp_path_factory.mktemp("journal") / "journal.db")
    blobs = {digest: ("image/png", digest.encode()) for event in appended for digest in blobs_of(event)}

    async def append() -> list[Entry]:
        return [await journal.append("s", event, blobs) for event in appended]

    entries = asyncio.run(append())
    lines = list(json_lines(journal, "s"))
    journal.close_now()
    assert not any("\n" in line for line in lines)
    records = [msgspec.json.decode(line) for line in lines]
    assert [msgspec.convert(line, Entry) for line in records if "event" in line] == entries
    found = {line["blob"]: (line["media_type"], base64.b64decode(line["data"])) for line in records if "blob" in line}
    assert found == blobs


def test_a_blob_comes_before_the_first_line_that_names_it_and_once(journal: Journal) -> None:
    image = {"d1": ("image/png", b"\x89PNG")}

    async def append() -> None:
        prompted = TurnStarted(1, (Text("look"), Image("image/png", "d1")), "/", "auto", "m", "http://x")
        await journal.append("s", prompted, image)
        await journal.append("s", image_result("d1"), image)
        changed = CallFinished(1, "c", "edit", "ok", (), changes=(FileChange("/f", "d2", "d3"),))
        await journal.append("s", changed, {"d2": ("application/octet-stream", b"before")})

    asyncio.run(append())
    lines = [msgspec.json.decode(line) for line in json_lines(journal, "s")]
    assert [line.get("blob") or line["event"]["type"] for line in lines] == [
        "d1",
        "turn.started",
        "call.finished",
        "d2",
        "call.finished",
    ]


def test_a_damaged_row_and_a_lost_blob_are_in_the_export_as_what_is_left(journal: Journal) -> None:
    """lessons.md 19: nothing is dropped without a word."""
    record(journal, "s", created(), image_result("lost"), answer("torn"), ended())
    execute(journal.path, "UPDATE events SET data = CAST(? AS TEXT) WHERE type = 'message.received'", (b"\xfftorn",))
    lines = [msgspec.json.decode(line) for line in json_lines(journal, "s")]
    assert "no blob lost" in lines[1]["missing"]
    damaged = lines[3]
    assert base64.b64decode(damaged["data"]) == b"\xfftorn"
    assert damaged["damaged"] == 3
    assert "Event 3 is damaged" in "\n".join(markdown(journal, "s"))


def test_markdown_reads_as_the_session_went(journal: Journal) -> None:
    call = ToolUse("c1", "bash", {"command": "ls"})
    record(
        journal, "s", created("/project"), prompt("What is here?"), answer("Let me see.", call, thinking="ls will do")
    )
    record(journal, "s", started("ls"), finished("a.py\nb.py\n"), answer("Two files."), ended())
    text = "\n".join(markdown(journal, "s"))
    assert text.startswith("# What is here?\n\n- session: s\n- folder: /project\n")
    parts = [
        "> What is here?",
        "<summary>Thinking</summary>\n\nls will do",
        "Let me see.",
        '### bash\n\n```json\n{\n  "command": "ls"\n}\n```\n\n*ok after 1.5 s*\n\n```\na.py\nb.py\n```',
        "Two files.",
        "turn 1 ended: end_turn",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_call_without_a_result_is_shown_as_such(journal: Journal) -> None:
    malformed = ToolUse("c2", "edit", {}, '{"path": "/f')
    record(journal, "s", prompt("go"), answer("", ToolUse("c1", "bash", {"command": "sleep 9"}), malformed))
    text = "\n".join(markdown(journal, "s"))
    assert text.count("*no result*") == 2
    assert '{"path": "/f' in text


_PIECES = (
    *("\n", "\n", "\n\n", " ", "  ", "    ", "text", "\x1b[31m", "\r", "\x00"),
    *("`", "``", "```", "````python", "~~~", "- ", "1. ", "> ", "# Turn 9", "---", "===", "|a|", "[a]: b", "&lt;"),
    *("<pre>", "<!--", "</details>", "<?", "<div>", "<b>"),
)
_awkward = st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)


@settings(deadline=None, max_examples=100)
@given(_awkward, _awkward, _awkward, _awkward)
def test_no_content_breaks_out_of_its_place(
    tmp_path_factory: pytest.TempPathFactory, asked: str, thought: str, said: str, result: str
) -> None:
    """Judged by a Markdown parser: our own headings are there, and each call's blocks are whole."""
    journal = Journal.open(tmp_path_factory.mktemp("journal") / "journal.db")
    call = ToolUse("c1", "bash", {"command": said})
    record(journal, "s", created(), prompt(asked), answer(said, call, thinking=thought), finished(result), ended())
    tokens = MarkdownIt().parse("\n".join(markdown(journal, "s")))
    journal.close_now()
    headings = [
        (token.tag, tokens[index + 1].content)
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0
    ]
    assert ("h3", "bash") in headings
    assert any(tag == "h2" and content.startswith("Turn 1:") for tag, content in headings)
    after_call = next(
        index
        for index, token in enumerate(tokens)
        if token.type == "inline" and token.content == "bash" and tokens[index - 1].tag == "h3"
    )
    fences = [token.content for token in tokens[after_call:] if token.type == "fence"]
    assert len(fences) == 2
    assert msgspec.json.decode(fences[0]) == {"command": said}
    assert tokens[-2].type == "inline"
    assert tokens[-2].content.endswith("turn 1 ended: end_turn*")


def test_only_messages_with_text_say_something(journal: Journal) -> None:
    record(journal, "s", MessageReceived(1, "m", (Text(""),), "end_turn"))
    assert "\n".join(markdown(journal, "s")).startswith("# s\n")
