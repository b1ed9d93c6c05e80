"""Counts the threads that reading a file leaves behind in a process of its own.

A thread of Arrow that holds a Python object while the process ends aborts it:
https://github.com/apache/arrow/issues/34314
"""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os
{imports}
before = len(os.listdir("/proc/self/task"))
{call}
print(len(os.listdir("/proc/self/task")) - before)
"""


def started(imports: str, call: str) -> int:
    """Returns how many threads the call starts and leaves, native ones included."""
    program = _PROGRAM.format(imports=imports, call=call)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
