"""A page as headless Chromium sees it: its DOM, its print, what it says on the console and asks the network for."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pypdf import PdfReader

_NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
LONGEST_S = 120


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of opening a page; `requests` are the URLs that the page itself asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def printed(page: Path, scratch: Path) -> list[str]:
    """The text of each sheet of paper when the file is printed."""
    sheets = scratch / "page.pdf"
    where = [f"--user-data-dir={scratch / 'profile'}", f"--print-to-pdf={sheets}", "--no-pdf-header-footer"]
    subprocess.run([str(PROGRAM), *FLAGS, *where, page.as_uri()], capture_output=True, timeout=LONGEST_S, check=True)
    return [sheet.extract_text() for sheet in PdfReader(sheets).pages]


def see(page: Path, scratch: Path) -> Seen:
    """Opens the file."""
    net_log = scratch / "net.json"
    arguments = [f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={net_log}", "--enable-logging=stderr"]
    done = subprocess.run(
        [str(PROGRAM), *FLAGS, *arguments, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(done.stdout, console, _requests(net_log))


def overflow(page: Path, scratch: Path, width: int) -> int:
    """By how many pixels a page is broader than a window of this width."""
    measured = scratch / "measured.html"
    root = "document.documentElement"
    script = f"document.title = {root}.scrollWidth - {root}.clientWidth"
    measured.write_text(f"{page.read_text()}<script>{script}</script>")
    arguments = [f"--user-data-dir={scratch / 'profile'}", f"--window-size={width},800", "--dump-dom"]
    command = [str(PROGRAM), *FLAGS, *arguments, measured.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=True)
    return int(done.stdout.partition("<title>")[2].partition("<")[0])


def _requests(net_log: Path) -> list[str]:
    """The browser has requests of its own, which no page began."""
    events = json.loads(net_log.read_text())["events"]
    asked = [event["params"] for event in events if "url" in event.get("params", {})]
    return [one["url"] for one in asked if one.get("initiator", "not an origin") != "not an origin"]
