"""Places where a test may end this process as a power cut would: no clean-up, no goodbye.

Armed only by CHORUS_CRASHPOINT in the environment, read once at the start; the tests list every point (tests/test_inbound_faults.py).
"""

from __future__ import annotations

import os

_ARMED = os.environ.get("CHORUS_CRASHPOINT", "")


def crashpoint(name: str) -> None:
    """End the process here and now, if this very point is armed."""
    if name == _ARMED:
        os._exit(137)
