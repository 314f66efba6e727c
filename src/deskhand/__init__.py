"""Deskhand, a local-first coding agent: the agent process on the user's own machine, in front of any model."""

from __future__ import annotations

__version__ = "0.1.0"
