from dsl import Interest
from streams.traces import Decoded

class Scanner:
    def __init__(self, interest: Interest) -> None: ...
    def scan(self, value: bytes, logs_first: bool) -> Decoded | None: ...  # noqa: FBT001
