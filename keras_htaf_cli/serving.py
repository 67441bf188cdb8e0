"""What may be asked of the server, and its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Options:
    """How models are served; `--name-of-option` on the command line.

    Attributes:
        host: Address to listen on; 0.0.0.0 for all, as a container needs it.
        port: 0 for any free one.
        workers: Processes, each with all models.
        threads: Threads of one computation in each worker; None: the cores it may use / workers.
        max_batch: Rows of one request, and of what is computed at once.
        max_explained: Rows of one request for explanations, each some tenths of a second at most.
        max_body: MiB of a request.
        timeout: Seconds from the end of a request to its answer (504).
        read_timeout: Seconds for a client to send its request (408) or to go on reading the answer.
        concurrency: Requests in work, waiting included, of each worker (503).
        grace: Seconds for requests in work after SIGTERM.
        batching: Whether requests that wait are computed together.

    Raises:
        ValueError: If a number is out of its range.

    Example:

    >>> Options(port=9000, timeout=2.0).max_batch
    1024
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    threads: int | None = None
    max_batch: int = 1024
    max_explained: int = 16
    max_body: float = 16.0
    timeout: float = 30.0
    read_timeout: float = 10.0
    concurrency: int = 256
    grace: float = 20.0
    batching: bool = True

    def __post_init__(self):
        least = {"port": 0, "timeout": 0.001, "read_timeout": 0.001, "max_body": 0.0001, "grace": 0}
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in ("host", "batching") or (name == "threads" and value is None):
                continue
            kind = (int, float) if isinstance(field.default, float) else int
            number = isinstance(value, kind) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < least.get(name, 1):
                what = "a number" if isinstance(field.default, float) else "a whole number"
                raise ValueError(
                    f"Received {name}={value!r}. Expected {what} from {least.get(name, 1)}."
                )
        if self.port > 65535:
            raise ValueError(f"Received port={self.port}. Expected one from 0 to 65535.")

    @property
    def max_bytes(self) -> int:
        """`max_body` in bytes."""
        return int(self.max_body * MEBIBYTE)
