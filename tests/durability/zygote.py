"""``python -m tests.durability.zygote KIND DIRECTORY``: forks writing processes.

A fork takes a few milliseconds, a fresh interpreter with all imports longer than the lives of most of them.

Each line on stdin is one life: ``{"first": N, "count": N, "faults": RULES}``. On stdout come ``{"pid": N}``,
the process's own lines, and ``{"ended": STATUS}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from .writer import Voice, main


def serve(kind: str, directory: Path) -> None:
    voice = Voice(1)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(kind, directory, asked)
        voice.say(pid=pid)
        voice.say(ended=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _live(kind: str, directory: Path, asked: dict[str, object]) -> None:
    """In the child: never returns, and touches nothing of the parent's."""
    status = 1
    try:
        main(kind, directory, int(str(asked["first"])), int(str(asked["count"])), str(asked["faults"]))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
