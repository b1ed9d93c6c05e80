"""Random and mutated rule texts: whatever a text is, loading it ends in rules or in problems, and soon.

    python -m tests.properties.fuzz_rules [COUNT] [SEED]

A text is a fixture with a few characters or words changed, two fixtures spliced, a soup of words, or random characters.
What loads is also printed, explained and judged. Prints a line of JSON; a text that made anything else happen is
printed as a Python literal, and the exit code is 1. The same count and seed give the same texts.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import msgspec

from dsl import Span, problems
from dsl.compile.compile import build_rule_set, compile_files
from dsl.compile.review import judge_trace
from dsl.compile.write import rules_text
from dsl.explain.explain import explain
from dsl.show import render_text
from dsl.syntax.source import from_texts
from dsl.syntax.suggestions import RESERVED
from tests.support.fixtures import ROOT, problem_blocks, verdict_blocks

COUNT, CHUNK = 1_000_000, 10_000
SLOWEST_S = 4.0
"""Of the processor's time: a text takes milliseconds, and what explodes takes minutes, however slow the machine."""

LONGEST = 4000

HEADERS = ("// id: r\n// kind: pattern\n", "// id: r\n", '// "T"\n', "// Signal: X (high)\n", "")
YAML = "rules:\n- id: r\n  kind: pattern\n  condition: "
SIGNS = ("(", ")", "{", "}", "[", "]", ",", ".", "$", '"', "'", "\\", "/", ":", "=", "==", "!=", "<=", "\n", "\t", " ")
WORDS = (
    *sorted(RESERVED),
    *SIGNS,
    *("distinct(", "sum(", "by", "trace.duration", "x[to]", "[*]"),
    *("trace.has(", "count(", ".where(", "// id: r", "//", "a", "b.c", "1", "-2.5e3", "5ms", "x == 1", "é", "\ud800"),
    *("\0", "\x85", "\u2028", "\ufeff", "\U0010ffff", "- ", "rules:", "condition: |\n", "&a", "*a", "!!str", "\r\n"),
)
SPANS = (Span("a", end_ns=5, attributes={"x": 1, "y": ["\ud800"]}, identity=b"1"), Span("b", start_ns=1, identity=b"2"))


@cache
def fixtures() -> tuple[tuple[str, str, str], ...]:
    """All rules of the fixtures, each as a file name, a header and a text; the headers stay as they are."""
    rules = [block for path in sorted((ROOT / "verdicts").glob("*.txt")) for block in verdict_blocks(path)]
    wrong = [block for path in sorted((ROOT / "problems").glob("*.txt")) for block in problem_blocks(path)]
    found = [(block.setting("file"), block.text) for block in (*rules, *wrong) if len(block.text) <= LONGEST]
    headers = {True: "// id: r\n", False: "// id: r\n// kind: pattern\n"}
    return tuple((name or "t.rules", "" if name else headers[text.startswith("when")], text) for name, text in found)


def texts(count: int, seed: str) -> Iterator[tuple[str, str]]:
    """That many file names and texts."""
    chance = random.Random(seed)
    makes = (_mutated, _mutated, _reworded, _reworded, _spliced, _soup, _noise)
    return (chance.choice(makes)(chance) for _ in range(count))


def outcome(name: str, text: str) -> str:
    """`loaded` or `refused`; raises whatever should not have happened."""
    start_s = time.process_time()
    files, found = from_texts({name: text})
    compiled, more = compile_files(files)
    refused = problems.has_errors([*found, *more])
    shown = [render_text([*found, *more])]
    if not refused:
        rules, _ = build_rule_set(files, compiled, found + more)
        shown += [rules_text(compiled), *(explain(each, []) for each in compiled)]
        judge_trace(rules, SPANS)
    assert "\x1b" not in "".join(shown)
    assert time.process_time() - start_s < SLOWEST_S
    return "refused" if refused else "loaded"


def run(count: int, seed: str) -> Counter[str]:
    """How many texts had which outcome; what should not have happened is printed and counted as `failed`."""
    outcomes: Counter[str] = Counter()
    for name, text in texts(count, seed):
        try:
            outcomes[outcome(name, text)] += 1
        except BaseException as error:  # noqa: BLE001 (anything at all is a finding)
            outcomes["failed"] += 1
            print(f"{name} {text!a}: {type(error).__name__}: {error}"[:2000], flush=True)  # noqa: T201, it is a command
    return outcomes


def _mutated(chance: random.Random) -> tuple[str, str]:
    name, header, text = chance.choice(fixtures())
    for _ in range(chance.randint(1, 3)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 5, 20)))
        repeated = text[start:end] * chance.choice((0, 0, 2, 3, 30))
        text = text[:start] + chance.choice((repeated, chance.choice(WORDS), "")) + text[end:]
    return name, header + text


def _reworded(chance: random.Random) -> tuple[str, str]:
    name, header, text = chance.choice(fixtures())
    words = re.split(r"([^\w.]+)", text)
    for _ in range(chance.randint(1, 3)):
        words[chance.randrange(len(words))] = chance.choice((*WORDS, *words))
    return name, header + "".join(words)


def _spliced(chance: random.Random) -> tuple[str, str]:
    (name, header, one), (_, _, other) = chance.choice(fixtures()), chance.choice(fixtures())
    return name, header + one[: chance.randint(0, len(one))] + other[chance.randint(0, len(other)) :]


def _soup(chance: random.Random) -> tuple[str, str]:
    words = chance.choices(WORDS, k=chance.randint(0, 30))
    text = chance.choice(("", " ", " ")).join(words)
    return ("t.yaml", YAML + text) if chance.random() < 0.1 else ("t.rules", chance.choice(HEADERS) + text)


def _noise(chance: random.Random) -> tuple[str, str]:
    highest = chance.choice((0x7F, 0xFF, 0x10FFFF))
    text = "".join(chr(chance.randint(0, highest)) for _ in range(chance.randint(0, 60)))
    return chance.choice(("t.rules", "t.yaml")), chance.choice(HEADERS) + text


def main() -> None:
    """Runs chunks on all cores."""
    count = int(sys.argv[1]) if sys.argv[1:] else COUNT
    seed = sys.argv[2] if sys.argv[2:] else "1"
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    outcomes: Counter[str] = Counter(loaded=0, refused=0, failed=0)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(run, sizes, [f"{seed}.{chunk}" for chunk in range(len(sizes))]):
            outcomes.update(found)
    print(msgspec.json.encode(outcomes).decode())  # noqa: T201, it is a command
    sys.exit(outcomes["failed"] > 0)


if __name__ == "__main__":
    main()
