"""The command line: what starts, what is refused and why (`spec/04 §14.1`, §16.17, §16.28)."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from abstractruntime.integrations.abstractcore._mcp_worker.network import is_loopback
from abstractruntime.integrations.abstractcore.mcp_worker import main

from .processes import REAL, WorkerProcess

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
def abstractcore() -> None:
    pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")


@pytest.fixture(autouse=True)
def _no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "WORKER_TOKEN",
        *(f"ENABLE_{kind}_TOOLS" for kind in ("COMMS", "EMAIL", "WHATSAPP", "TELEGRAM")),
    ):
        monkeypatch.delenv(f"ABSTRACT_{name}", raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Failed to start MCP worker. ")
    return shown.err


def test_no_toolset(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--toolsets", ""], ["--toolsets", " , "], ["--transport", "http"]):
        message = refused(capsys, *arguments)
        assert "No tools selected." in message
        assert "Available: files, web, system." in message


@pytest.mark.weakness("spec/04 §16.28")
def test_unknown_toolsets_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "--toolsets", "files, flies,web")
    assert "can't be served: flies." in message
    assert "Available: files, web, system." in message
    message = refused(capsys, "--toolsets", "files,comms")
    assert "can't be served: comms." in message
    assert "ABSTRACT_ENABLE_COMMS_TOOLS=1" in message


@pytest.mark.usefixtures("abstractcore")
def test_authentication_needs_a_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    http = ["--transport", "http", "--toolsets", "web", "--http-require-auth"]
    assert "ABSTRACT_WORKER_TOKEN" in refused(capsys, *http)
    monkeypatch.setenv("ABSTRACT_WORKER_TOKEN", "  ")
    assert "ABSTRACT_WORKER_TOKEN" in refused(capsys, *http)
    assert "MY_TOKEN" in refused(capsys, *http, "--http-auth-token-env", "MY_TOKEN")


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.usefixtures("abstractcore")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_other_machines_need_authentication(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "--transport", "http", "--toolsets", "web", "--host", host)
    assert "--http-require-auth" in message
    assert "--http-allow-unauthenticated" in message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_addresses_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", " ", "0.0.0.0", "::", "192.0.2.1", "no such name", "a" * 300])
def test_all_other_addresses(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.usefixtures("abstractcore")
def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = refused(capsys, "--transport", "http", "--toolsets", "web", "--port", port)
        assert f"127.0.0.1 port {port}" in message


@pytest.mark.usefixtures("abstractcore")
def test_a_root_that_is_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for root in (str(file), " "):
        refused(capsys, "--toolsets", "files", "--workspace-root", root)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--transport", "carrier-pigeon"],
        ["--tool-timeout", "0"],
        ["--tool-timeout", "nan"],
        ["--tool-timeout", "soon"],
        ["--max-request-bytes", "0"],
        ["--log-values", "some"],
        ["--port", "x"],
        ["--port", "65536"],
        ["--port", "-1"],
        ["--unknown"],
    ],
)
def test_options_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_without_abstractcore_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    for name in ("abstractcore.tools", "abstractcore.tools.common_tools"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert "pip install" in refused(capsys, "--toolsets", "files")


@pytest.mark.usefixtures("abstractcore")
def test_stdio_ends_with_its_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(PING) + "\n"))
    assert main(["--toolsets", "files"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {}


@pytest.mark.usefixtures("abstractcore")
def test_the_console_script() -> None:
    script = Path(sys.executable).with_name("abstractruntime-mcp-worker")
    done = subprocess.run(
        [script, "--toolsets", "web"],
        input=json.dumps(PING).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)["id"]) == (0, 1)


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    return {**PING, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.usefixtures("abstractcore")
def test_the_workspace_root_holds(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    outside.write_text("outside", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to(outside)
    with WorkerProcess(
        *REAL, "--toolsets", "files,system", "--workspace-root", str(root), log=tmp_path / "stderr"
    ) as worker:

        def answered(name: str, **arguments: Any) -> tuple[bool, str]:
            worker.send(calling(name, **arguments))
            result = worker.answer()["result"]
            return result["isError"], result["content"][0]["text"]

        assert answered("write_file", file_path="in.txt", content="inside")[0] is False
        assert (root / "in.txt").read_text(encoding="utf-8") == "inside"
        (root / "link.txt").symlink_to(outside)
        for name, arguments in (
            ("read_file", {"file_path": str(outside)}),
            ("read_file", {"file_path": "../outside.txt"}),
            ("read_file", {"file_path": "link.txt"}),
            ("read_file", {"file_path": "in.txt", "arguments": {"file_path": str(outside)}}),
            ("skim_files", {"paths": ["in.txt", str(outside)]}),
            ("list_files", {"directory_path": str(tmp_path)}),
        ):
            failed, text = answered(name, **arguments)
            assert failed, (name, arguments, text)
            assert "outside" not in text.replace("outside.txt", "").replace("outside workspace", "")
        failed, text = answered("execute_command", command="pwd")
        assert json.loads(text)["stdout"].strip() == str(root.resolve())
        assert "[WARNING]" in worker.log


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.usefixtures("abstractcore")
def test_a_tool_timeout(tmp_path: Path) -> None:
    with WorkerProcess(
        *REAL, "--toolsets", "system", "--tool-timeout", "0.3", log=tmp_path / "stderr"
    ) as worker:
        worker.send(calling("execute_command", command="sleep 60"))
        result = worker.answer()["result"]
        assert result["isError"] is True
        assert result["content"][0]["text"] == "Tool execution timed out after 0.3s"


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.usefixtures("abstractcore")
@pytest.mark.parametrize(
    ("options", "env", "token"),
    [
        (["--http-auth-token", "given"], {}, "given"),
        (["--http-auth-token", "given", "--http-require-auth"], {"ABSTRACT_WORKER_TOKEN": "other"}, "given"),
        (["--http-require-auth"], {"ABSTRACT_WORKER_TOKEN": " env "}, "env"),
        (["--http-require-auth", "--http-auth-token-env", "MINE"], {"MINE": "mine"}, "mine"),
        (["--http-require-auth", "--host", "0.0.0.0"], {"ABSTRACT_WORKER_TOKEN": "env"}, "env"),
        ([], {"ABSTRACT_WORKER_TOKEN": "not read"}, None),
        (["--http-auth-token-env", "MINE"], {"MINE": "not read"}, None),
        (["--host", "0.0.0.0", "--http-allow-unauthenticated"], {}, None),
        (["--host", "localhost"], {}, None),
    ],
)
def test_tokens(options: list[str], env: dict[str, str], token: str | None, tmp_path: Path) -> None:
    arguments = [*REAL, "--transport=http", "--port=0", "--toolsets=web", *options]
    with WorkerProcess(*arguments, log=tmp_path / "stderr", env=env) as worker:
        url = worker.url().replace("0.0.0.0", "127.0.0.1")
        assert httpx.post(url, json=PING).status_code == (401 if token else 200)
        if token:
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx.post(url, json=PING, headers=headers).status_code == 200
            assert token not in worker.log
        elif env and options:
            assert "--http-auth-token-env does nothing" in worker.log


@pytest.mark.usefixtures("abstractcore")
def test_origins_may_be_repeated_or_listed(tmp_path: Path) -> None:
    options = ("--http-allow-origin", "http://a, http://b", "--http-allow-origin", "http://c")
    with WorkerProcess(
        *REAL, "--transport=http", "--port=0", "--toolsets=web", *options, log=tmp_path / "stderr"
    ) as worker:
        url = worker.url()
        seen = {name: httpx.post(url, json=PING, headers={"Origin": f"http://{name}"}) for name in "abcd"}
        assert {name: reply.status_code for name, reply in seen.items()} == {
            "a": 200,
            "b": 200,
            "c": 200,
            "d": 403,
        }


@pytest.mark.weakness("spec/04 §16.18")
@pytest.mark.usefixtures("abstractcore")
@pytest.mark.parametrize(
    ("values", "arguments", "preview"),
    [
        ("all", '{"pattern": "p4ttern", "path": "', "preview=Search results"),
        ("results", '["pattern", "path"]', "preview=Search results"),
        ("none", '["pattern", "path"]', "preview=("),
    ],
)
def test_what_logs_tell(values: str, arguments: str, preview: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "f.txt").write_text("p4ttern", encoding="utf-8")
    with WorkerProcess(
        *REAL, "--toolsets=files", f"--log-values={values}", log=tmp_path / "stderr"
    ) as worker:
        worker.send(calling("search_files", pattern="p4ttern", path=str(folder)))
        worker.answer()
        worker.finish()
        received, returned = worker.log.splitlines()
    assert f"args={arguments}" in received
    assert preview in returned
    assert ("p4ttern" in received) is (values == "all")
    assert ("p4ttern" in returned) is (values != "none")
