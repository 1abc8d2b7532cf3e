"""The stdio transport, byte by byte, over the pipes of real processes (`spec/04 §14.3`)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.mcp_worker import serve_stdio
from tests.poll import eventually

from .own_tools import state_of
from .processes import OWN_TOOLS, REAL, ROOT, WorkerProcess


def message(method: str, params: Any = None, request_id: object = 1) -> dict[str, Any]:
    made: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return made if params is None else {**made, "params": params}


def call(name: str, request_id: object = 1, **arguments: Any) -> dict[str, Any]:
    return message("tools/call", {"name": name, "arguments": arguments}, request_id)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(*OWN_TOOLS, log=tmp_path / "stderr") as running:
        yield running


def test_one_line_in_one_line_out_in_order(worker: WorkerProcess) -> None:
    worker.send(
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n',
        b"\n  \n\t\r\n",
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}\r\n',
        b'{"jsonrpc":"2.0","id":"two","method":"ping"}\r\n',
        call("value", 3, kind="lines"),
    )
    assert worker.line() == b'{"jsonrpc": "2.0", "id": 1, "result": {}}\n'
    assert worker.line() == b'{"jsonrpc": "2.0", "id": "two", "result": {}}\n'
    assert worker.answer()["result"]["content"][0]["text"] == "one\ntwo\u2028three"
    assert worker.finish() == (0, b"")


@pytest.mark.weakness("spec/04 §16.30")
def test_bad_lines_are_answered_and_the_worker_goes_on(worker: WorkerProcess) -> None:
    parse_error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}
    for bad in (b"nonsense\n", b'{"jsonrpc": "2.0", \n', b"\xff\xfe\n", b"[" * 50_000 + b"\n", b"NaN\n"):
        worker.send(bad)
        assert worker.answer() == parse_error
    for no_object in (b"[]\n", b"7\n", b'"text"\n', json.dumps([message("ping")]).encode() + b"\n"):
        worker.send(no_object)
        assert worker.answer()["error"] == {"code": -32600, "message": "Invalid Request: must be an object"}
    worker.send(message("ping"))
    assert worker.answer()["result"] == {}


@pytest.mark.weakness("spec/04 §16.17")
def test_a_line_that_is_too_long_is_refused_unread(worker: WorkerProcess) -> None:
    worker.send(call("echo", text="x" * 300_000), message("ping", request_id=2))
    refused = {"code": -32600, "message": "Invalid Request: longer than 100000 bytes"}
    assert worker.answer()["error"] == refused
    assert worker.answer()["id"] == 2
    worker.send(call("echo", text="y" * 50_000))
    assert worker.answer()["result"]["content"][0]["text"] == "y" * 50_000


def test_a_last_line_without_an_end_is_served(worker: WorkerProcess) -> None:
    worker.send(json.dumps(message("ping")).encode())
    code, rest = worker.finish()
    assert (code, json.loads(rest)["result"]) == (0, {})


def test_what_tools_print_never_gets_between_answers(worker: WorkerProcess) -> None:
    worker.send(call("noisy"), message("ping", request_id=2))
    answer = worker.answer()
    assert answer["result"] == {"content": [{"type": "text", "text": "read ''"}], "isError": False}
    assert worker.answer()["id"] == 2
    assert worker.finish() == (0, b"")
    assert "printed by the tool" in worker.log
    assert "printed by a child" in worker.log


def test_names_that_are_no_unicode_do_not_spoil_the_stream(worker: WorkerProcess) -> None:
    worker.send(call("value", kind="surrogate"), message("ping", request_id=2))
    assert worker.answer()["result"]["content"][0]["text"] == "half ? of one"
    assert worker.answer()["id"] == 2


def test_a_client_that_reads_no_more_ends_the_worker(worker: WorkerProcess) -> None:
    assert worker.process.stdout is not None
    worker.process.stdout.close()
    worker.send(message("ping"))
    assert worker.process.wait(timeout=60) == 0
    assert "[CLIENT_GONE]" in worker.log
    assert "Traceback" not in worker.log
    assert "Exception ignored" not in worker.log


@pytest.mark.parametrize("closed", ["closed", "nobody reads"])
def test_tools_are_served_without_a_stderr_too(closed: str) -> None:
    """Logs are no reason to stop."""
    shell = f"exec {sys.executable} {' '.join(OWN_TOOLS)}" + (" 2>&-" if closed == "closed" else "")
    lines = [call("noisy"), message("ping", request_id=2)]
    read, write = os.pipe()
    os.close(read)  # a write to it fails
    done = subprocess.run(
        ["sh", "-c", shell],
        input="".join(f"{json.dumps(line)}\n" for line in lines).encode(),
        stdout=subprocess.PIPE,
        stderr=write,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        timeout=60,
        check=False,
    )
    os.close(write)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["id"] for each in answers] == [1, 2]
    assert done.returncode == 0


def test_one_line_of_log_each_way(worker: WorkerProcess) -> None:
    worker.send(
        message("initialize"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        message("tools/list", request_id="b"),
        call("echo", text="secret argument"),
        call("fail", how="raise"),
        message("nope\nnope"),
        b"garbage\n",
    )
    worker.finish()
    lines = [line.split(" ", 2) for line in worker.log.splitlines()]
    assert all(len(time) == 8 and time[2] == ":" for _, time, _ in lines)
    assert [head for head, _, _ in lines] == ["[RECEIVING_COMMANDS]", "[RETURNING_RESULTS]"] * 7
    received = [text for _, _, text in lines[::2]]
    assert received == [
        "stdio rpc method=initialize id=1",
        "stdio rpc method=notifications/initialized id=null",
        "stdio rpc method=tools/list id=b",
        'stdio rpc method=tools/call id=1 name=echo args=["text"]',
        'stdio rpc method=tools/call id=1 name=fail args=["how"]',
        "stdio rpc method=nope\\nnope id=1",
        "stdio line that is no JSON, 8 bytes",
    ]
    returned = [text for _, _, text in lines[1::2]]
    assert returned[2].startswith("stdio ok=true elapsed_s=0.")
    assert returned[2].endswith("rpc_result tools_count=5 names=echo,fail,noisy,touch_and_wait,value")
    assert returned[3].endswith("rpc_result isError=false preview=secret argument")
    assert returned[4].endswith("rpc_result isError=true preview=it broke")
    assert returned[5].endswith("rpc_error code=-32601 message=Method not found: nope\\nnope")
    assert returned[6].startswith("stdio ok=false elapsed_s=0.")
    assert " rpc_error code=-32700 message=Parse error" in returned[6]


def test_streams_that_a_host_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """In process, with text streams: what serving needs is on ``sys`` when it is called."""
    answers = io.StringIO()
    long = json.dumps(call("echo", text="z" * 300))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{json.dumps(message('ping'))}\n\nbad\n{long}\n{{}}"))
    monkeypatch.setattr(sys, "stdout", answers)
    serve_stdio(state=state_of(max_request_bytes=200))
    assert sys.stdout is answers
    served = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert served[0]["result"] == {}
    assert [each["error"]["code"] for each in served[1:]] == [-32700, -32600, -32600]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_an_idle_worker_at_once(how: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")
    with WorkerProcess(*REAL, "--toolsets", "files", log=tmp_path / "stderr") as worker:
        worker.send(message("ping"))
        worker.answer()
        worker.process.send_signal(how)
        assert worker.process.wait(timeout=30) == 0
        assert "[STOPPED]" in worker.log
        assert "Traceback" not in worker.log


def test_signals_end_commands_too(tmp_path: Path) -> None:
    pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")
    import psutil

    pid_file = tmp_path / "pid"
    with WorkerProcess(*REAL, "--toolsets", "system", log=tmp_path / "stderr") as worker:
        worker.send(
            call(
                "execute_command",
                command=f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 300",
            )
        )
        command = psutil.Process(
            int(eventually(lambda: pid_file.exists() and pid_file.read_text(), timeout=60))
        )
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(timeout=30) == 0
        assert "Traceback" not in worker.log
        eventually(lambda: not command.is_running() or command.status() == psutil.STATUS_ZOMBIE)
