"""How many spans a second are decoded, on what a real Collector wrote.

    python -m tests.bench.bench_decode

Three kinds of rules: of which no span is of interest (the rule files that are shipped, on these spans), of which one
span in 60 is, and rules about every trace. Each line is the best of many rounds on one core: with the compiled scanner
where there is one, and by Python alone. `partitioned` messages have 2 spans, `unkeyed` ones 500.
"""

from __future__ import annotations

import sys
import time

from dsl import Interest
from streams.decode.backend import Backend, compiled
from streams.decode.decoder import Decoder
from tests.support import paths
from topics.embedded import capture
from topics.otlp.requests import RecordKind

CORPUS = paths.CORPUS
ROUNDS = 40
NAMES = frozenset(
    {
        "agent.goal",
        "agent.goal.deviation_score",
        "agent.goal.role",
        "agent.tool",
        "agent.tool.name",
        "agent.tool.role",
        "audit.log",
        "auth.check",
        "auth.mfa_verified",
        "data.access",
        "database.access",
        "database.access.timestamp.hour",
        "database.access.user.role",
        "phi.access",
        "pii.access",
    }
)
ATTRIBUTES = NAMES | {
    "client.address",
    "deviation_score",
    "enduser.id",
    "enduser.role",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "name",
    "role",
    "service.name",
    "tenant.id",
    "user.id",
    "user.name",
    "user.role",
    "user.roles",
}
INTERESTS = {
    "none of interest": Interest(NAMES, every_span=False, attributes=ATTRIBUTES),
    "1 in 60 of interest": Interest(NAMES | {"api-gateway /v1/orders"}, every_span=False, attributes=ATTRIBUTES),
    "every span": Interest(NAMES, every_span=True, attributes=ATTRIBUTES),
}


def best_s(values: list[bytes], decoder: Decoder, kind: RecordKind) -> float:
    """The shortest time in which all values were decoded."""
    times_s = []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        for value in values:
            decoder.decode(value, kind)
        times_s.append(time.perf_counter() - start_s)
    return min(times_s)


def main() -> None:
    """Prints one line per corpus file, kind of rules and path."""
    choices = [Backend.CYTHON, Backend.PURE] if compiled() else [Backend.PURE]
    for path in sorted(CORPUS.glob("*.bin.gz")):
        values = [frame.value for frame in capture.read(path)]
        kind = RecordKind.LOGS if "logs" in path.name else RecordKind.SPANS
        decoded = [Decoder(INTERESTS["none of interest"]).decode(value, kind) for value in values]
        span_count = sum(record.span_count + record.logs_without_trace for record in decoded)
        for label, interest in INTERESTS.items():
            for choice in choices:
                spans_per_s = span_count / best_s(values, Decoder(interest, backend=choice), kind)
                sys.stdout.write(f"{path.name:32} {label:20} {choice.value:8} {spans_per_s:12,.0f} spans/s\n")


if __name__ == "__main__":
    main()
