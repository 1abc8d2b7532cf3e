"""The stdio transport: one JSON document per line (`spec/04 §14.3`). Stdout carries answers alone."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import IO, Any

from . import logs
from .rpc import (
    INVALID_REQUEST,
    PARSE_ERROR,
    Answer,
    encoded,
    error_answer,
    handle_mcp_request,
    parsed,
)
from .state import McpWorkerState

__all__ = ["own_process_streams", "serve_stdio"]

Stream = IO[Any]


def serve_stdio(*, state: McpWorkerState) -> None:
    """Answer the requests on ``sys.stdin`` one after another, in order, until it ends.

    Blank lines are skipped; a line that is no JSON is answered with -32700, what is no object with -32600.
    What tools print goes to stderr, and they read an empty stdin: only answers are between answers. Returns,
    too, when nobody reads the answers any more.
    """
    source, sink = sys.stdin, sys.stdout
    with _tools_kept_off():
        for line in _lines(getattr(source, "buffer", source), state.max_request_bytes):
            answer = _served(line, state)
            if answer is None:
                continue
            try:
                _send(sink, encoded(answer) + b"\n")
            except BrokenPipeError:
                logs.event("CLIENT_GONE", "stdio nobody reads the answers any more")
                return


def _lines(source: Stream, limit: int) -> Iterator[bytes | None]:
    """The lines that are not blank; ``None`` for one that is longer than the limit (it is not kept)."""
    while raw := source.readline(limit + 1):
        line = raw.encode("utf-8", "replace") if isinstance(raw, str) else bytes(raw)
        if len(line) > limit and not line.endswith(b"\n"):
            while raw and raw[-1:] not in (b"\n", "\n"):
                raw = source.readline(limit)
            yield None
        elif line.strip():
            yield line


def _served(line: bytes | None, state: McpWorkerState) -> Answer | None:
    """Handles one line and logs it, once in and once out."""
    started = time.monotonic()
    request: object = None
    refusal: Answer | None = None
    if line is None:
        refusal = error_answer(
            None, INVALID_REQUEST, f"Invalid Request: longer than {state.max_request_bytes} bytes"
        )
        logs.received("stdio line that is too long")
    else:
        try:
            request = parsed(line)
            logs.received(f"stdio {logs.request_part(request, state.log_values)}")
        except ValueError:
            refusal = error_answer(None, PARSE_ERROR, "Parse error")
            logs.received(f"stdio line that is no JSON, {len(line)} bytes")
    answer = refusal or handle_mcp_request(req=request, state=state)
    ok = answer is None or "error" not in answer
    logs.returned(
        f"stdio ok={str(ok).lower()} elapsed_s={time.monotonic() - started:.2f} "
        f"{logs.result_part(answer, state.log_values)}"
    )
    return answer


def _send(sink: Stream, line: bytes) -> None:
    binary = getattr(sink, "buffer", None)
    if binary is None:
        sink.write(line.decode("utf-8"))
        sink.flush()
        return
    binary.write(line)
    binary.flush()


@contextmanager
def _tools_kept_off() -> Iterator[None]:
    own_stdin = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing, redirect_stdout(sys.stderr):
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = own_stdin


@contextmanager
def own_process_streams() -> Iterator[None]:
    """Keep file descriptors 0 and 1 from the processes that tools start, too.

    Inside, ``sys.stdin`` and ``sys.stdout`` are private copies of them; 0 is empty and 1 goes to stderr.
    Where they are no real streams of the process (in-process tests), nothing is changed.
    """
    if not _are_process_streams():
        yield
        return
    own_stdin, own_stdout = sys.stdin, sys.stdout
    own_stdout.flush()
    private_in, private_out = os.dup(0), os.dup(1)
    with ExitStack() as undo:
        undo.callback(os.close, private_in)
        undo.callback(os.close, private_out)
        undo.callback(os.dup2, private_out, 1)
        undo.callback(os.dup2, private_in, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        undo.callback(os.close, nothing)
        os.dup2(nothing, 0)
        os.dup2(nothing if sys.stderr is None else 2, 1)
        sys.stdin = io.TextIOWrapper(open(private_in, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115
        sys.stdout = io.TextIOWrapper(open(private_out, "wb", closefd=False), encoding="utf-8")  # noqa: SIM115
        private = sys.stdin, sys.stdout
        try:
            yield
        finally:
            sys.stdin, sys.stdout = own_stdin, own_stdout
            for stream in private:
                with suppress(BrokenPipeError):  # nobody reads; `serve_stdio` has said so
                    stream.close()
            _give_up_logs_that_nobody_reads(nothing)


def _give_up_logs_that_nobody_reads(nothing: int) -> None:
    """Python writes out what is left for stderr at its end, and a failure of that is exit code 120."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(nothing, 2)


def _are_process_streams() -> bool:
    try:
        return (sys.stdin.fileno(), sys.stdout.fileno()) == (0, 1)
    except (AttributeError, OSError, ValueError):  # closed, replaced, or absent
        return False
