"""The protocol of the scripts: one JSON object per line, in and out.

Runs in every peer's environment, so it needs nothing but the standard library. Standard output carries the
protocol only: what a library prints goes to standard error.

A request is ``{"do": NAME, ...arguments}``; a reply ``{"result": ...}`` or ``{"error": "..."}``.
"""

import json
import os
import sys
import traceback


class Lines:
    """Standard output kept for the protocol."""

    def __init__(self):
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, message):
        """Write one line."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def serve(self, commands, *, show_traceback=True):
        """Say that we are ready, then answer requests until standard input ends."""
        self.say({"result": "ready"})
        for line in sys.stdin:
            request = json.loads(line)
            command = commands[request.pop("do")]
            try:
                reply = {"result": command(**request)}
            except Exception as error:  # it belongs to the caller
                if show_traceback:
                    traceback.print_exc()
                reply = {"error": f"{type(error).__name__}: {error}"}
            self.say(reply)
