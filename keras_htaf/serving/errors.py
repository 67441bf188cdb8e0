"""Requests that are refused."""

from __future__ import annotations


class Refused(Exception):
    """What is wrong with a request, for its sender, and the HTTP status that says so.

    Args:
        status: 400 to 599.
        message: Received, expected, what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
