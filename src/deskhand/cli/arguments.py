"""What the commands take as numbers: types for argparse, whose errors it shows with the usage."""

from __future__ import annotations


def count(text: str) -> int:
    """Return a number from 1 up. Raises `argparse.ArgumentTypeError`."""
    return _number(text, 1, None, "is not a number from 1 up")


def port_number(text: str) -> int:
    """Return a port; 0 stands for any that is free. Raises `argparse.ArgumentTypeError`."""
    return _number(text, 0, 65_535, "is not a port: give a number up to 65535")


def _number(text: str, least: int, most: int | None, otherwise: str) -> int:
    import argparse  # only who has arguments to parse has paid for it already

    try:
        number = int(text) if text.isdecimal() else -1
    except ValueError:  # of more digits than Python converts
        number = -1
    if number < least or (most is not None and number > most):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} {otherwise}")
    return number
