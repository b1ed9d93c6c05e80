from confluent_kafka import Message

from dsl import Interest
from streams.decode._touches import Touches
from streams.decode.batches import BatchContext, BatchResult
from streams.decode.records import Decoded

class Scanner:
    def __init__(self, interest: Interest) -> None: ...
    def scan(self, value: bytes, logs_first: bool) -> Decoded | None: ...
    def read_batch(self, messages: list[Message], index: int, start: BatchContext, touches: Touches) -> BatchResult: ...
