"""Whether a download can work, found out before it is tried."""

from __future__ import annotations

import queue
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

# TensorFlow Datasets looks here for every data set, even for those whose files lie elsewhere.
HOST = "storage.googleapis.com"
SECONDS = 0.5


def reachable(host: str = HOST) -> bool:
    """Says whether a host, or the proxy in front of it, takes a connection.

    Offline, TensorFlow Datasets itself retries for minutes before it gives up.

    Args:
        host: Its name. Default: the one of TensorFlow Datasets.

    Returns:
        True if a connection came about within half a second, False if not.
    """
    answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
    # In a thread, as looking up a name obeys no timeout; a daemon, so that nobody waits for it.
    threading.Thread(target=_connect, args=(answer, host), daemon=True).start()
    try:
        return answer.get(timeout=SECONDS)
    except queue.Empty:
        return False


def _connect(answer: queue.SimpleQueue[bool], host: str) -> None:
    try:
        with socket.create_connection(_address(host), timeout=SECONDS):
            answer.put(True)
    except OSError:
        answer.put(False)


def _address(host: str) -> tuple[str, int]:
    """Behind a proxy only the proxy can be reached, and it is what downloads go through."""
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(host):
        return host, 443
    parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.hostname or host, parts.port or 80
