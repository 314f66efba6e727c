"""`deskhand acp`: the Agent Client Protocol over standard input and output, for editors."""

from __future__ import annotations

from deskhand.cli.terminal import complain
from deskhand.daemon.record import DaemonError
from deskhand.home import Home, HomeError, find_home


def run(arguments: list[str]) -> int:
    """Serve the editor that started us until it leaves, and return the exit code."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="deskhand acp",
        description="Speak the Agent Client Protocol (https://agentclientprotocol.com) over standard input and output. "
        "Editors start this; there is nothing to type. The sessions live in the daemon, and go on without the editor.",
    )
    parser.add_argument("--no-daemon", action="store_true", help="run everything in this process, and end with it")
    options = parser.parse_args(arguments)
    try:
        if options.no_daemon:
            return _serve_here(find_home())
        from deskhand.daemon.pipe import serve_through_daemon

        serve_through_daemon(find_home())
    except (HomeError, DaemonError) as error:
        complain(str(error))
        return 1
    return 0


def _serve_here(home: Home) -> int:
    from deskhand.daemon.local import complete
    from deskhand.daemon.stdio import serve_stdio
    from deskhand.journal.database import JournalError

    try:
        complete(serve_stdio(home))
    except JournalError as error:
        complain(str(error))
        return 1
    except ValueError:
        complain("`deskhand acp` speaks through pipes: name it in your editor's settings as an ACP agent.")
        return 1
    return 0
