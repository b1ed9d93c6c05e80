"""Write-once storage in memory, for evidence that only one test looks at."""

from __future__ import annotations


class Memory:
    """As `streams.evidence.ledger.storage.Storage`."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def create(self, path: str, content: bytes) -> None:
        """As the storage's."""
        if path in self._files:
            raise FileExistsError(path)
        self._files[path] = content

    def read(self, path: str) -> bytes:
        """As the storage's."""
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def remove(self, path: str) -> None:
        """As the storage's."""
        if self._files.pop(path, None) is None:
            raise FileNotFoundError(path)

    def names(self, path: str) -> list[str]:
        """As the storage's."""
        prefix = f"{path}/" if path else ""
        return sorted({file[len(prefix) :].split("/")[0] for file in self._files if file.startswith(prefix)})
