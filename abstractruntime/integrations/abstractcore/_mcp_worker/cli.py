"""The command ``abstractruntime-mcp-worker`` (`spec/04 §14.1`)."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from abstractruntime.core.errors import ConfigurationError, RuntimeFault

from . import logs
from .http_server import McpHttpServer
from .network import is_loopback
from .state import DEFAULT_MAX_REQUEST_BYTES, McpWorkerState, build_worker_state
from .stdio import own_process_streams, serve_stdio
from .wsgi import build_wsgi_app

__all__ = ["main"]

_TOKEN_VARIABLE = "ABSTRACT_WORKER_TOKEN"
_GRACE_S = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stdin ends (stdio), or until interrupted or terminated.

    Args:
        argv: the arguments; ``None`` means those of the process, which is then this worker's own.

    Returns:
        0 on a normal end; 1 if it could not start, with the reason on stderr.
    """
    options = _parser().parse_args(argv)
    try:
        state = _state(options)
    except (RuntimeFault, ImportError, ValueError, OSError) as error:
        return _failed(str(error))
    with _terminated_like_interrupted():
        try:
            if options.transport == "http":
                return _serve_http(options, state)
            with own_process_streams():
                serve_stdio(state=state)
        except KeyboardInterrupt:
            logs.event("STOPPED", options.transport)
            if argv is None:
                _end_started_processes()
    return 0


def _failed(why: str) -> int:
    print(f"Failed to start MCP worker. {why}", file=sys.stderr)
    return 1


def _serve_http(options: argparse.Namespace, state: McpWorkerState) -> int:
    try:
        server = McpHttpServer(options.host, options.port, build_wsgi_app(state=state))
    except (OSError, OverflowError, UnicodeError) as error:
        return _failed(f"Can't listen on {options.host} port {options.port}: {error}.")
    with server.closing(grace_s=_GRACE_S):
        logs.event("LISTENING", f"{server.url} tools_count={len(state.tools)}")
        server.serve_forever()
    return 0


def _state(options: argparse.Namespace) -> McpWorkerState:
    state = build_worker_state(
        toolsets=options.toolsets,
        strict=True,
        tool_timeout_s=options.tool_timeout,
        workspace_root=options.workspace_root,
    )
    if options.workspace_root and any(tool["name"] == "execute_command" for tool in state.tools):
        logs.event(
            "WARNING", "commands of execute_command can leave --workspace-root; run them in a container"
        )
    state = replace(state, max_request_bytes=options.max_request_bytes, log_values=options.log_values)
    if options.transport != "http":
        return state
    token = options.http_auth_token.strip()
    required = options.http_require_auth or bool(token)
    if options.http_require_auth and not token:
        variable = options.http_auth_token_env or _TOKEN_VARIABLE
        token = os.environ.get(variable, "").strip()
        if not token:
            raise ConfigurationError(
                "Authentication is required (--http-require-auth) but there is no token: set the environment "
                f"variable {variable}, or pass --http-auth-token."
            )
    if options.http_auth_token_env and not required:
        logs.event("WARNING", "--http-auth-token-env does nothing without --http-require-auth")
    if not required and not is_loopback(options.host) and not options.http_allow_unauthenticated:
        raise ConfigurationError(
            f"{options.host!r} can be reached from other machines, and anybody there could use the tools: "
            "pass --http-require-auth (token in the environment), or --http-allow-unauthenticated if the "
            "network itself keeps others out."
        )
    return replace(
        state,
        http_require_auth=required,
        http_auth_token=token or None,
        http_allowed_origins=tuple(origin for given in options.http_allow_origin for origin in given),
    )


def _end_started_processes() -> None:
    """Commands run in sessions of their own and would outlive this process, though nobody waits for them."""
    if "abstractcore.tools.common_tools" not in sys.modules:
        return
    from abstractcore.tools.process_tree import descendant_pids

    for pid in descendant_pids(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the worker as Ctrl-C does. Only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, _interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # No Exception: a tool that catches those would go on. A second signal ends the process at once.
    signal.signal(signum, signal.SIG_DFL)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="abstractruntime-mcp-worker",
        description="Serve AbstractCore's default tools to MCP clients, over stdio or HTTP.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--transport", choices=("stdio", "http"), default="stdio", help="default: stdio")
    add(
        "--toolsets",
        type=_comma_list,
        default="",
        metavar="A,B",
        help="files, web, system, comms (the last only where an ABSTRACT_ENABLE_*_TOOLS variable allows it)",
    )
    add("--workspace-root", metavar="DIR", help="the only directory whose files the tools may touch")
    add("--tool-timeout", type=_seconds, metavar="S", help="seconds a tool may take; default: no limit")
    add(
        "--max-request-bytes",
        type=_positive,
        default=DEFAULT_MAX_REQUEST_BYTES,
        metavar="N",
        help="longest HTTP body or line on stdin; default: %(default)s",
    )
    add(
        "--log-values",
        choices=("all", "results", "none"),
        default="results",
        help="what logs tell beside names: how results begin (default), arguments too, or neither",
    )
    http = parser.add_argument_group("with --transport http")
    add = http.add_argument
    add("--host", default="127.0.0.1", help="default: %(default)s")
    add("--port", type=_port, default=8765, help="default: %(default)s; 0 takes a free one")
    add("--http-require-auth", action="store_true", help="refuse requests without the token")
    add(
        "--http-auth-token",
        default="",
        metavar="T",
        help="the token; implies --http-require-auth. Other users of the machine can see it in the process "
        "list: better use the environment",
    )
    add(
        "--http-auth-token-env",
        metavar="NAME",
        help="the variable with the token, for --http-require-auth without --http-auth-token; "
        f"default: {_TOKEN_VARIABLE}",
    )
    add(
        "--http-allow-origin",
        type=_comma_list,
        action="append",
        default=[],
        metavar="O",
        help="an Origin that may call (repeat, or separate with commas); default: none, so no browser can",
    )
    add(
        "--http-allow-unauthenticated",
        action="store_true",
        help="serve without authentication on an address that other machines can reach",
    )
    return parser


def _comma_list(text: str) -> list[str]:
    return [part for part in (each.strip() for each in text.split(",")) if part]


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:  # some resolvers would take it modulo 65536
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value
