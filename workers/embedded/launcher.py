"""The first thing that runs in every child of the embedded fleet: ties its life to the supervisor's.

``FD MODULE ARGS...``: FD is one end of a socket pair, the *lifeline*. The supervisor holds the other end and
nobody else does, so the kernel closes it when the supervisor dies, even by ``kill -9``. That is portable,
and, unlike ``PR_SET_PDEATHSIG``, does not fire when a mere thread of the supervisor ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import time
import warnings
from contextlib import suppress
from threading import Thread

__all__ = ["READY", "main"]

READY = b"+"
"""What a child sends over the lifeline once it is at work."""

_LAST_WORDS_S = 3.0


def main() -> None:
    """Run MODULE as a program, as ``python -m`` would."""
    lifeline = socket.socket(fileno=int(sys.argv[1]))
    module = sys.argv[2]
    Thread(target=_follow, args=(lifeline,), name="lifeline", daemon=True).start()
    if module == "celery":
        _report_when_ready(lifeline)
        _bear_root()
    else:
        lifeline.send(READY)
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _follow(lifeline: socket.socket) -> None:
    """Wait for the supervisor's death, then go too: softly first, then with all of one's own children."""
    with suppress(ConnectionError):
        while lifeline.recv(1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_WORDS_S)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _report_when_ready(lifeline: socket.socket) -> None:
    from celery.signals import beat_init, worker_ready

    def report(**_: object) -> None:
        with suppress(OSError):
            lifeline.send(READY)

    worker_ready.connect(report, weak=False)
    beat_init.connect(report, weak=False)


def _bear_root() -> None:
    """Celery warns root of pickled messages; this fleet accepts JSON only, on loopback."""
    from celery.platforms import SecurityWarning

    warnings.filterwarnings("ignore", category=SecurityWarning)


if __name__ == "__main__":
    main()
