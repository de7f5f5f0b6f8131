"""The one place where a test waits for another process: with a deadline, and saying for what."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Look every 20 ms until ``condition`` holds; fail after ``seconds``, naming ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)
