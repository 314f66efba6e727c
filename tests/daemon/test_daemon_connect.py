"""A client finds the daemon of its home, starts it where there is none, and never trusts or ends the wrong process."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon_support import VERSION, EchoDaemon, until
from deskhand.daemon import connect
from deskhand.daemon.connect import NotRunning, OtherVersion
from deskhand.daemon.record import DaemonError, Record, find, lock_is_held, lock_path, read_record, record_path
from deskhand.home import HomeError
from deskhand.process_table import start_time

CLIENT = """
import sys
from deskhand.daemon.connect import attach
home, version, *command = sys.argv[1:]
record, connection = attach(home, version, 30, command)
connection.sendall(b"pid\\n")
print(connection.recv(100).decode().strip(), flush=True)
"""


def client(echo: EchoDaemon, program: str = CLIENT, **options: object) -> subprocess.Popen[bytes]:
    """Start a client of the daemon as a process of its own."""
    arguments = [sys.executable, "-P", "-c", program, str(echo.home), VERSION, *echo.command()]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


def write_record(home: Path, *, pid: int | None = None, started: str | None = None, path: str = "") -> Record:
    """Leave a record as a daemon does."""
    pid = os.getpid() if pid is None else pid
    record = Record(pid, started or start_time(pid) or "", path or f"{home}/run/daemon.sock", None, "t", VERSION)
    (home / "run").mkdir(parents=True, mode=0o700, exist_ok=True)
    Path(record_path(home)).write_bytes(record.to_json())
    return record


def kill(record: Record) -> None:
    """Kill a daemon, and wait until it is dead."""
    os.kill(record.pid, signal.SIGKILL)
    until(lambda: not record.running)


def test_where_no_daemon_runs_none_is_found(home: Path) -> None:
    assert find(home) is None
    assert not lock_is_held(home)
    with pytest.raises(NotRunning, match=f"No Deskhand daemon runs for {home}: `deskhand daemon start` starts one"):
        connect.connect(home)
    assert connect.stop(home) is False
    assert not home.exists(), "to look is not to make"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"pid": 1}',
        b'{"pid": "1", "started": "", "socket": "", "port": null, "token": "", "version": ""}',
        b'{"pid": true, "started": "", "socket": "", "port": null, "token": "", "version": ""}',
        b'{"pid": 1, "started": "", "socket": "a\\u0000", "port": null, "token": "", "version": ""}',
        b'{"pid": 1, "started": "", "socket": "", "port": null, "token": 5, "version": ""}',
    ],
)
def test_a_record_that_makes_no_sense_is_none(home: Path, data: bytes) -> None:
    write_record(home)
    Path(record_path(home)).write_bytes(data)
    assert read_record(home) is None
    assert find(home) is None
    assert connect.stop(home) is False


@given(st.text(), st.text(st.characters(exclude_characters="\0")), st.none() | st.integers(1, 65535))
def test_a_record_is_read_as_it_was_written(version: str, path: str, port: int | None) -> None:
    record = Record(7, "boot:9", path, port, "token", version.replace("\0", ""))
    fields = json.loads(record.to_json())
    assert [fields[name] for name in Record.__slots__] == [getattr(record, name) for name in Record.__slots__]
    assert record.to_json().count(b"\n") == 1


def test_a_later_record_with_more_in_it_can_be_read(home: Path) -> None:
    record = write_record(home)
    more = {**json.loads(record.to_json()), "added": "later"}
    Path(record_path(home)).write_text(json.dumps(more))
    read = read_record(home)
    assert read is not None
    assert read.pid == record.pid


def test_the_record_of_a_dead_process_is_stale_whoever_has_its_pid_now(home: Path) -> None:
    """lessons.md 15: a pid counts only with its start time."""
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(write_record(home).socket.rpartition("/")[0])
        listening.bind("daemon.sock")
        os.chdir("/")
        assert find(home) is not None
        write_record(home, started="another boot:1")
        assert find(home) is None
        assert connect.stop(home) is False, "and the process that has it now is not signalled"
        child = subprocess.Popen([sys.executable, "-c", ""])
        until(lambda: find_zombie(child.pid))
        write_record(home, pid=child.pid)
        assert find(home) is None, "a process that nobody has waited for yet is dead too"
        child.wait()


def find_zombie(pid: int) -> bool:
    """Tell whether the process has ended and not been waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_first_client_starts_it_and_the_next_one_finds_it(echo: EchoDaemon) -> None:
    with echo.attach() as first, echo.attach() as second:
        assert first.ask("pid") == second.ask("pid")
    assert echo.ensure().pid == echo.ensure().pid


def test_it_is_detached_from_the_terminal_and_from_its_first_client(echo: EchoDaemon) -> None:
    terminal = {"TERM": "xterm", "TMUX": "1", "KITTY_PID": "1", "MAKEFLAGS": "--jobserver-auth=3,4", "SHLVL": "3"}
    of_a_call = {"DESKHAND_SESSION": "s", "DESKHAND_CALL": "c"}
    kept = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "DISPLAY": ":1", "SSH_AUTH_SOCK": "/nowhere"}
    process = client(echo, env={**os.environ, **terminal, **of_a_call, **kept})
    process.communicate(timeout=60)
    with echo.connect() as line:
        about = line.about()
    assert about["parent"] != process.pid
    assert about["session"] not in (os.getsid(0), about["pid"]), "it leads no session, so no terminal becomes its own"
    assert about["cwd"] == "/"
    assert about["streams"] == ["/dev/null", "/dev/null", str(echo.home / "logs" / "daemon.log")]
    environment = about["environment"]
    assert not {*terminal, *of_a_call} & set(environment)
    assert {name: environment[name] for name in kept} == kept
    assert environment["DESKHAND_HOME"] == str(echo.home)
    stop_signals = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    assert not any(about["ignored by its programs"] >> (number - 1) & 1 for number in stop_signals)


def test_it_outlives_a_client_that_is_killed_with_all_of_its_group(echo: EchoDaemon) -> None:
    process = client(echo, CLIENT + "import time; time.sleep(60)", start_new_session=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert str(pid) not in children, "nor is it among the descendants that are ended with a client"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    with echo.connect() as line:
        assert line.ask("pid") == str(pid)


def test_it_keeps_no_file_of_its_first_client_open(echo: EchoDaemon) -> None:
    """lessons.md 11: who waits for the end of a pipe would wait for the daemon."""
    reading, writing = os.pipe()
    process = client(echo, pass_fds=[writing], stderr=subprocess.PIPE)
    os.close(writing)
    process.communicate(timeout=60)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b""
    assert find(echo.home) is not None


def test_many_clients_at_once_end_up_with_one_daemon(echo: EchoDaemon) -> None:
    clients = [client(echo) for _ in range(10)]
    pids = {process.communicate(timeout=90)[0].strip() for process in clients}
    record = find(echo.home)
    assert record is not None
    assert pids == {str(record.pid).encode()}


def test_after_a_kill_the_next_client_starts_another(echo: EchoDaemon) -> None:
    for _ in range(3):
        record = echo.ensure()
        kill(record)
        with echo.attach() as line:
            assert line.ask("pid") != str(record.pid)


def test_no_client_is_lost_when_the_daemon_ends_for_want_of_work(echo: EchoDaemon) -> None:
    chance = random.Random(3)
    pids = set()
    for _ in range(12):
        with echo.attach(idle_exit=0.5) as line:
            pids.add(line.ask("pid"))
        time.sleep(chance.uniform(0.45, 0.7))
    assert "" not in pids
    assert len(pids) > 1, "it has ended now and then"


def test_a_daemon_of_another_version_is_left_alone(echo: EchoDaemon) -> None:
    """lessons.md 18: a client says what it found and what to type; it never kills."""
    record = echo.ensure("0.9")
    for call in (echo.ensure, echo.attach):
        with pytest.raises(OtherVersion) as caught:
            call()
        assert str(caught.value) == (
            f"The Deskhand daemon that runs (pid {record.pid}) is of version 0.9, and this is version 1.2.3: "
            "`deskhand daemon restart` puts one of this version in its place."
        )
        assert caught.value.record.pid == record.pid
    with echo.connect() as line:
        assert line.ask("pid") == str(record.pid)


def test_what_a_dead_daemon_of_another_version_left_stands_in_nobodys_way(echo: EchoDaemon) -> None:
    kill(echo.ensure("0.9"))
    with echo.attach() as line:
        assert line.ask("hello") == "hello"


def test_a_daemon_that_ends_as_it_starts_is_quoted(echo: EchoDaemon) -> None:
    (echo.home / "logs").mkdir(parents=True)
    (echo.home / "logs" / "daemon.log").write_text("of long ago\n")
    failing = [sys.executable, "-c", "import sys; sys.exit('one\\nThe journal is broken.\\n')"]
    with pytest.raises(DaemonError, match=r"ended as it started: The journal is broken\. The log is .*daemon\.log\.$"):
        connect.ensure(echo.home, VERSION, 20, failing)
    with pytest.raises(DaemonError, match=r"ended as it started: it said nothing\."):
        connect.ensure(echo.home, VERSION, 20, ["/bin/true"])
    with pytest.raises(DaemonError, match=r"ended as it started: .*/no/such/program: not found"):
        connect.ensure(echo.home, VERSION, 20, ["/no/such/program"])


def test_a_daemon_that_does_not_get_ready_is_not_waited_for_without_end(echo: EchoDaemon) -> None:
    with pytest.raises(DaemonError, match=r"not ready in time: see .*daemon\.log\.$"):
        connect.ensure(echo.home, VERSION, 0.3, ["/bin/sleep", "1.5"])


@pytest.mark.parametrize("name", ["with spaces", "with\nnewline", "with 'quotes' \"$HOME\" `id`", "d" * 150])
def test_it_starts_in_a_home_of_any_name(echo: EchoDaemon, tmp_path: Path, name: str) -> None:
    other = EchoDaemon(tmp_path / name)
    try:
        with other.attach() as line:
            assert line.about()["environment"]["DESKHAND_HOME"] == str(other.home)
    finally:
        other.close()


def test_a_home_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=f"Cannot use {tmp_path}/file for Deskhand's state: File exists"):
        connect.ensure(tmp_path / "file", VERSION, 5)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "start.lock").mkdir()
    with pytest.raises(DaemonError, match=r"for .*start\.lock cannot be written: Is a directory\.$"):
        connect.ensure(tmp_path, VERSION, 5)


def test_what_others_could_have_written_is_not_believed(echo: EchoDaemon) -> None:
    echo.ensure()
    (echo.home / "run").chmod(0o777)
    for look in (find, connect.connect, connect.stop):
        with pytest.raises(DaemonError, match=r"run is open to other users, so Deskhand trusts nothing in it"):
            look(echo.home)
    (echo.home / "run").chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_socket_in_another_users_folder_is_refused(echo: EchoDaemon, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    write_record(echo.home, started="another boot:1", path=str(theirs / "daemon.sock"))
    with pytest.raises(DaemonError, match="theirs belongs to another user"):
        connect.connect(echo.home)


def test_a_daemon_that_lets_nobody_in_is_said_in_time(echo: EchoDaemon) -> None:
    folder = Path(os.environ["XDG_RUNTIME_DIR"])
    path = str(folder / "full.sock")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        write_record(echo.home, started="another boot:1", path=path)
        with pytest.raises(DaemonError, match="lets nobody in"):
            connect.connect(echo.home, timeout=0.2)
        with pytest.raises(DaemonError, match="lets nobody in"):
            connect.attach(echo.home, VERSION, 0.2)


def test_to_stop_is_to_have_stopped(echo: EchoDaemon) -> None:
    record = echo.ensure()
    with echo.connect() as line:
        assert connect.stop(echo.home) is True
        assert line.hear() == "goodbye"
    assert not record.running
    assert not lock_is_held(echo.home)
    assert connect.stop(echo.home) is False


def test_one_that_hangs_is_killed_only_when_asked_for(echo: EchoDaemon) -> None:
    record = echo.ensure()
    os.kill(record.pid, signal.SIGSTOP)
    with pytest.raises(DaemonError, match=rf"\(pid {record.pid}\) has not ended within 0\.3 s: .* --force`"):
        connect.stop(echo.home, timeout=0.3)
    assert record.running
    assert connect.stop(echo.home, timeout=0.3, force=True) is True
    assert not record.running


def test_a_holder_of_the_lock_that_cannot_be_found_is_said(echo: EchoDaemon) -> None:
    (echo.home / "run").mkdir(parents=True)
    with Path(lock_path(echo.home)).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DaemonError, match="has left no record, or runs in another container"):
            connect.stop(echo.home, timeout=0.1)


def test_a_thin_client_imports_little(echo: EchoDaemon) -> None:
    program = (
        CLIENT + "print(*{'asyncio', 'dataclasses', 'msgspec', 'pathlib', 'subprocess', 'typing'} & set(sys.modules))"
    )
    echo.ensure()
    output, _ = client(echo, program).communicate(timeout=60)
    assert output.decode().splitlines()[1:] == [""]
