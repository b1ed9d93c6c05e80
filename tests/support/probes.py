"""What a stage serves: its probes and metrics."""

from __future__ import annotations

from http.client import HTTPConnection


def get(port: int, path: str, accept: str = "*/*") -> tuple[int, str]:
    """The status and text of an answer, whatever the status is; `OSError` where nothing answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
