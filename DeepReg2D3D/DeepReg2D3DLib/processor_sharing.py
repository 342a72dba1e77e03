"""How compute threads wait for each other where other programs want the processor, too."""

from __future__ import annotations

import os

SPINS = 2000
"""Turns, about 0.1 ms in all, that a thread waits awake before it sleeps."""
_VARIABLE, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"


def wait_briefly() -> None:
    """Let OpenMP's threads sleep after a short wait; to be called before torch is imported.

    By default they wait awake for milliseconds at the end of every parallel loop. While another program holds one of
    the processors, two threads then mostly wait for each other: a registration takes ten times as long. A short wait
    is enough to bridge the time from one loop to the next on processors that are free. A user's own choice stands.
    (GNU OpenMP, which torch brings on Linux; elsewhere this has no effect.)
    """
    if _VARIABLE not in os.environ and _POLICY not in os.environ:
        os.environ[_VARIABLE] = str(SPINS)
