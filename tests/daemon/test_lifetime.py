"""One daemon for each home: it can be found while it lives, ends when it should, and leaves nothing that misleads."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from daemon_support import EchoDaemon, until
from deskhand.daemon.record import Record, find, lock_is_held, lock_path, read_record, record_path
from deskhand.process_table import start_time


def test_who_finds_the_record_can_connect_and_nobody_else_can(echo: EchoDaemon) -> None:
    record = echo.started()
    assert (record.version, record.port, len(record.token)) == ("1.2.3", None, 64)
    assert record.started == start_time(record.pid)
    for path, mode in ((Path(record_path(echo.home)), 0o600), (Path(record.socket), 0o600), (echo.home / "run", 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    with echo.connect() as line:
        assert line.ask("hello") == "hello"


def test_a_folder_that_was_open_to_others_is_closed(echo: EchoDaemon) -> None:
    (echo.home / "run").mkdir(parents=True)
    (echo.home / "run").chmod(0o777)
    echo.started()
    assert stat.S_IMODE((echo.home / "run").stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_nothing_is_left_that_misleads(echo: EchoDaemon, number: signal.Signals) -> None:
    record = echo.started()
    os.kill(record.pid, number)
    assert echo.wait() == 0
    assert not Path(record.socket).exists()
    assert [file.name for file in (echo.home / "run").iterdir()] == ["daemon.lock"]
    assert not lock_is_held(echo.home)


def test_it_ends_when_told_from_within(echo: EchoDaemon) -> None:
    echo.started()
    with echo.connect() as line:
        assert line.ask("stop") == "stop"
        assert line.hear() == "goodbye"
    assert echo.wait() == 0


def test_clients_hear_how_it_ends_and_none_of_them_can_hold_it_up(echo: EchoDaemon) -> None:
    """lessons.md 6: what does not end is named and left behind."""
    record = echo.started()
    with echo.connect() as listener, echo.connect() as stubborn, echo.connect() as deaf:
        stubborn.say("hold on")
        deaf.say("flood")
        assert listener.ask("hello") == "hello"
        os.kill(record.pid, signal.SIGTERM)
        assert listener.hear() == "goodbye"
        assert listener.hear() == ""
        assert echo.wait() == 0
    assert "Does not end within 2 s, and is left behind" in echo.log


def test_a_client_at_fault_or_gone_ends_its_own_connection_only(echo: EchoDaemon) -> None:
    """lessons.md 14: a broken pipe to a client ends that client, nothing else."""
    echo.started()
    with echo.connect() as other:
        with echo.connect() as gone:
            gone.say("flood")
        with echo.connect() as faulty:
            assert faulty.ask("raise") == ""
        assert other.ask("hello") == "hello"
    assert "this connection is at fault" in echo.log
    assert "ConnectionResetError" not in echo.log


def test_a_client_that_does_not_take_what_it_is_sent_is_cut_off(echo: EchoDaemon) -> None:
    record = echo.started()
    with echo.connect() as other:
        assert other.ask("hello") == "hello"
        before = open_files(record)
        with echo.connect() as deaf:
            deaf.say("flood and raise")
            until(lambda: open_files(record) > before)
            until(lambda: open_files(record) == before)


def open_files(record: Record) -> int:
    """Return how many descriptors the daemon has."""
    return len(list(Path(f"/proc/{record.pid}/fd").iterdir()))


def test_a_second_one_gives_way_and_says_to_whom(echo: EchoDaemon) -> None:
    first = echo.started()
    second = echo.start()
    assert second.wait(timeout=20) == 1
    assert f"(pid {first.pid}, version 1.2.3) runs for {echo.home} already." in echo.stderr()
    with echo.connect() as line:
        assert line.ask("pid") == str(first.pid)


def test_after_a_kill_the_next_one_takes_over_at_once(echo: EchoDaemon) -> None:
    for _ in range(3):
        record = echo.started()
        os.kill(record.pid, signal.SIGKILL)
        echo.wait()
        assert Path(record.socket).exists()
        assert not lock_is_held(echo.home)
        assert find(echo.home) is None
        assert read_record(echo.home) is not None
    echo.started()
    with echo.connect() as line:
        assert line.ask("hello") == "hello"


def test_a_record_whose_pid_was_given_to_another_process_stops_nobody(echo: EchoDaemon) -> None:
    run = echo.home / "run"
    run.mkdir(parents=True, mode=0o700)
    stale = Record(os.getpid(), "another boot:1", str(run / "daemon.sock"), None, "t", "1.2.3")
    Path(record_path(echo.home)).write_bytes(stale.to_json())
    (run / "daemon.sock").write_text("not even a socket")
    assert echo.started().pid != os.getpid()


def test_it_waits_for_one_that_is_about_to_end(echo: EchoDaemon) -> None:
    """A daemon withdraws its record, stops its turns, and only then gives the lock back."""
    record = echo.started()
    with echo.connect() as stubborn, echo.connect() as line:
        stubborn.say("hold on")
        os.kill(record.pid, signal.SIGTERM)
        assert line.hear() == "goodbye"
        assert lock_is_held(echo.home)
        assert echo.ensure().pid != record.pid


def test_it_gives_way_to_a_holder_of_the_lock_that_says_nothing(echo: EchoDaemon) -> None:
    (echo.home / "run").mkdir(parents=True)
    with Path(lock_path(echo.home)).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert echo.start(IMPATIENT="1").wait(timeout=20) == 1
    assert "A Deskhand daemon (which has left no record) runs" in echo.stderr()


def test_it_ends_when_there_is_nothing_to_do(echo: EchoDaemon) -> None:
    echo.started(idle_exit=0.2)
    assert echo.wait() == 0
    assert "Nothing has gone on for 0.2 s" in echo.log
    assert find(echo.home) is None


def test_who_knocks_at_the_last_moment_is_let_in(echo: EchoDaemon) -> None:
    record = echo.started(idle_exit=0.5, DOZE="2")
    time.sleep(0.5)  # by now it looks whether it is busy, which takes it 2 s, and is about to find that it is idle
    with echo.connect() as line:
        assert line.ask("pid") == str(record.pid)
        found = until(lambda: find(echo.home))
        assert found.pid == record.pid, "and it can be found again"


def test_it_stays_while_somebody_is_connected_or_it_is_busy(echo: EchoDaemon) -> None:
    record = echo.started(idle_exit=0.3)
    with echo.connect() as line:
        assert line.ask("busy") == "busy"
        with pytest.raises(AssertionError, match="not seen"):
            until(lambda: not record.running, seconds=1)
    with pytest.raises(AssertionError, match="not seen"):
        until(lambda: not record.running, seconds=1)
    with echo.connect() as line:
        assert line.ask("free") == "free"
    assert echo.wait() == 0


def test_a_dump_on_request_and_no_end_with_the_terminal(echo: EchoDaemon) -> None:
    record = echo.started()
    with echo.connect() as line:
        os.kill(record.pid, signal.SIGHUP)
        os.kill(record.pid, signal.SIGUSR1)
        assert line.ask("hello") == "hello"
        line.say("stop")
    assert echo.stderr() == "dumped\n"


def test_what_a_cleaner_of_old_files_removes_comes_back(echo: EchoDaemon) -> None:
    record = echo.started()
    with echo.connect() as line:
        Path(record.socket).unlink()
        Path(record_path(echo.home)).unlink()
        until(lambda: find(echo.home))
        with echo.connect() as late:
            assert late.ask("pid") == str(record.pid)
        Path(record_path(echo.home)).unlink()
        until(lambda: find(echo.home))
        assert line.ask("hello") == "hello", "who was connected has noticed nothing"


def test_what_cannot_be_put_back_is_tried_again_and_said_once(echo: EchoDaemon) -> None:
    def troubles() -> int:
        return echo.log.count("It is tried again and again.")

    echo.started(idle_exit=1)
    in_the_way = echo.home / "run" / "daemon.new"
    with echo.connect() as line:  # which keeps it from ending; it looks four times a second
        for times in (1, 2):
            in_the_way.mkdir()
            Path(record_path(echo.home)).unlink()
            until(lambda: troubles() == times)  # noqa: B023 - it is called before the next time
            time.sleep(1)
            in_the_way.rmdir()
            until(lambda: find(echo.home))
            time.sleep(0.5)
        assert line.ask("hello") == "hello"
    assert troubles() == 2


def test_it_ends_when_its_home_is_removed(echo: EchoDaemon) -> None:
    echo.started()
    shutil.rmtree(echo.home)
    assert echo.wait() == 0
    assert not echo.home.exists()


@pytest.mark.parametrize("name", ["with spaces", "with\nnewline", "with 'quotes' \"$HOME\" `id`", "日本"])
def test_a_home_may_have_any_name(echo: EchoDaemon, tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    record = echo.started(home=home)
    assert Path(record.socket).parent in (home / "run", *Path(os.environ["XDG_RUNTIME_DIR"]).iterdir())


def test_where_a_home_lies_too_deep_for_a_socket_there_is_one_elsewhere(echo: EchoDaemon, tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 40)
    record = echo.started(home=home)
    folder = Path(record.socket).parent
    assert folder.parent == Path(os.environ["XDG_RUNTIME_DIR"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    os.kill(record.pid, signal.SIGTERM)
    echo.wait()
    assert not folder.exists()


def test_a_socket_elsewhere_is_in_tmp_at_last(echo: EchoDaemon, tmp_path: Path) -> None:
    record = echo.started(home=tmp_path / ("deep" * 40), XDG_RUNTIME_DIR="")
    folder = Path(record.socket).parent
    os.kill(record.pid, signal.SIGTERM)
    echo.wait()
    assert folder.parent == Path("/tmp")
    assert not folder.exists()


def test_a_place_for_the_socket_that_others_can_change_is_passed_over(echo: EchoDaemon, tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 40)
    record = echo.started(home=home)
    os.kill(record.pid, signal.SIGTERM)
    echo.wait()
    taken = Path(record.socket).parent
    taken.mkdir(mode=0o777)
    taken.chmod(0o777)
    other = echo.started(home=home)
    os.kill(other.pid, signal.SIGTERM)
    echo.wait()
    assert Path(other.socket).parent.parent == Path("/tmp")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_home_of_another_user_is_refused(echo: EchoDaemon) -> None:
    (echo.home / "run").mkdir(parents=True)
    os.chown(echo.home / "run", 12345, 12345)
    assert echo.start().wait(timeout=20) == 1
    assert f"{echo.home / 'run'} belongs to another user (uid 12345; you are 0)" in echo.stderr()


def test_a_home_that_cannot_be_written_is_said_in_a_sentence(echo: EchoDaemon) -> None:
    echo.home.mkdir()
    (echo.home / "run").symlink_to("/proc/self")
    assert echo.start().wait(timeout=20) == 1
    assert echo.stderr().count("\n") == 1


def test_a_record_that_cannot_be_written_is_said_and_leaves_nothing(echo: EchoDaemon) -> None:
    """A full disk: the system refuses every byte, as it does when there is no room."""
    (echo.home / "run").mkdir(parents=True)
    Path(record_path(echo.home)).write_bytes(Record(1, "of a dead one", "", None, "", "").to_json())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        process = echo.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert process.wait(timeout=20) == 1
    assert "daemon.json: File too large. Clients find the daemon by it." in echo.stderr()
    assert [file.name for file in (echo.home / "run").iterdir()] == ["daemon.lock"]


def test_a_long_log_is_put_aside_and_its_own_words_go_to_the_new_one(echo: EchoDaemon) -> None:
    logs = echo.home / "logs"
    logs.mkdir(parents=True)
    (logs / "daemon.log").write_bytes(b"old\n" * 1_500_000)
    record = echo.ensure()
    os.kill(record.pid, signal.SIGUSR1)
    until(lambda: "dumped" in echo.log)
    assert (logs / "daemon.log.1").read_bytes() == b"old\n" * 1_500_000
    assert (logs / "daemon.log").stat().st_mode & 0o777 == 0o600


def test_a_client_that_only_listens_at_the_socket_is_let_in(echo: EchoDaemon) -> None:
    record = echo.started()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(record.socket)
        os.kill(record.pid, signal.SIGTERM)
        assert connection.recv(100) in (b"goodbye\n", b"")
    assert echo.wait() == 0
