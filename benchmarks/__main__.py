"""`make bench`: Deskhand beside the floor, in one run, as a table.

python -m benchmarks [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.measure import BenchmarkError, Command, Run, growth, percentile_95, python_start_ms, run

FLOOR = Path(__file__).with_name("floor.py")
SCRIPT = Path(sys.executable).with_name("deskhand")
MANY_CALLS = 1_000
STREAMED_TOKENS = 500
# We are one process at a time, with an endpoint that mostly waits; more than this is somebody else's work.
BUSY = 1.5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `budget` is the most that Deskhand may take; None: only for comparison."""

    what: str
    unit: str
    ours: float
    floor: float | None = None
    budget: float | None = None


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure Deskhand beside a bare script.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it works, not to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    try:
        rows = measure(
            cold_rounds=3 if options.quick else 15,
            rounds=1 if options.quick else 5,
            long_rounds=1 if options.quick else 3,
        )
    except BenchmarkError as error:
        sys.exit(f"The benchmark failed: {error}")
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    day = datetime.now(UTC).date().isoformat()
    load = os.getloadavg()[0]
    print(f"{day}, {machine}, load {load:.1f}\n\n{table(rows)}")
    if load > BUSY:
        print("\nThe machine had other things to do: trust the ratios, not the times.")
    if options.json:
        numbers = {"date": day, "machine": machine, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


def deskhand(port: int) -> list[str]:
    """Return the command that a user types. The endpoint's port comes with the environment."""
    return [str(SCRIPT), "run", "--no-daemon", "go"]


def streaming_deskhand(port: int) -> list[str]:
    """Return the command of a program that follows the turn."""
    return [*deskhand(port), "--output", "stream-json"]


def floor(port: int) -> list[str]:
    """Return the command of the bare script."""
    return [sys.executable, str(FLOOR), str(port)]


def measure(cold_rounds: int, rounds: int, long_rounds: int) -> list[Row]:
    """Measure everything, ours and the floor in turn, so that a busy moment of the machine meets both."""
    with tempfile.TemporaryDirectory(prefix="deskhand-bench-") as name:
        folder = Path(name)
        for command in (deskhand, floor):  # the first run compiles, and makes the home
            run(command, folder, calls=1)
        bare = median(python_start_ms() for _ in range(cold_rounds))
        cold = in_turn(cold_rounds, folder)
        fifty = in_turn(rounds, folder, calls=50)
        many = in_turn(long_rounds, folder, calls=MANY_CALLS)
        stream = in_turn(1, folder, tokens=STREAMED_TOKENS, ours=streaming_deskhand)
    return [
        compare(
            "start to first byte of the first request", "ms", 400, cold, lambda runs: median(r.cold_ms for r in runs)
        ),
        Row("(a bare interpreter, start to end)", "ms", bare),
        compare("harness per call, median of 50", "ms", 6, fifty, lambda runs: median(all_calls(runs))),
        compare("harness per call, 95 % of 50", "ms", None, fifty, lambda runs: percentile_95(all_calls(runs))),
        compare(f"harness per call, median of {MANY_CALLS}", "ms", None, many, lambda runs: median(all_calls(runs))),
        compare(
            f"last 50 of {MANY_CALLS} calls to the first 50",
            "×",
            1.5,
            many,
            lambda runs: median(growth(r.call_ms) for r in runs),
        ),
        compare("CPU for 50 calls, whole tree", "s", 0.5, fifty, lambda runs: median(r.cpu_seconds for r in runs)),
        compare(
            "peak memory, 50 calls, whole tree", "MB", 90, fifty, lambda runs: median(r.peak_bytes for r in runs) / 1e6
        ),
        compare("delay of a streamed token, median", "ms", 1, stream, lambda runs: median(all_tokens(runs))),
        *first_request(cold.ours[0]),
    ]


@dataclass(frozen=True, slots=True)
class Pair:
    """The runs of both programs for the same work."""

    ours: list[Run]
    floor: list[Run]


def in_turn(rounds: int, folder: Path, *, calls: int = 0, tokens: int = 0, ours: Command = deskhand) -> Pair:
    """Run both programs `rounds` times, one after the other."""
    pair = Pair([], [])
    for _ in range(rounds):
        pair.floor.append(run(floor, folder, calls=calls, tokens=tokens))
        pair.ours.append(run(ours, folder, calls=calls, tokens=tokens))
    return pair


def all_calls(runs: list[Run]) -> list[float]:
    """Return the milliseconds of every call of the runs."""
    return [ms for one in runs for ms in one.call_ms]


def all_tokens(runs: list[Run]) -> list[float]:
    """Return the milliseconds of every streamed token of the runs."""
    return [ms for one in runs for ms in one.token_ms]


def compare(what: str, unit: str, budget: float | None, pair: Pair, of: Callable[[list[Run]], float]) -> Row:
    """Return the line for one measure of both programs."""
    return Row(what, unit, of(pair.ours), of(pair.floor), budget)


def first_request(one: Run) -> list[Row]:
    """Return the size of the first request, and of what it is made of."""
    request = one.requests[0]
    body = json.loads(request.body)
    parts = {
        part: len(json.dumps(body.get(part), separators=(",", ":"), ensure_ascii=False).encode()) for part in PARTS
    }
    return [
        Row("first request", "KB", request.size / 1000, budget=12),
        *(Row(f"(its {part})", "KB", size / 1000) for part, size in parts.items()),
    ]


PARTS = ("system", "tools", "messages")


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | Deskhand | floor | ratio | budget | |", "|---|---|---|---|---|---|"]
    for row in rows:
        bare = f"{number(row.floor)} {row.unit}" if row.floor is not None else ""
        ratio = f"{row.ours / row.floor:.1f}" if row.floor and row.unit != "×" else ""
        budget = f"≤ {row.budget:g} {row.unit}" if row.budget is not None else ""
        verdict = "" if row.budget is None else "met" if row.ours <= row.budget else "missed"
        lines.append(f"| {row.what} | {number(row.ours)} {row.unit} | {bare} | {ratio} | {budget} | {verdict} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Return three digits that count, and never an exponent."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
