"""The README's code runs as written."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from abstractruntime.app import App
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from tests.pump import Pump
from workers.client import Client
from workers.settings import load_settings

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def _block(text: str) -> str:
    (found,) = [block for block in BLOCKS if text in block]
    return found


def _run(code: str, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile(code, f"README.md:{name}", "exec"), module.__dict__)
    return module


def test_the_first_workflow_pauses_and_resumes() -> None:
    ran = _run(_block("InMemoryRunStore()"), "first")
    assert ran.state.output == {"answer": "yes"}


def test_the_first_workflow_goes_on_from_a_sqlite_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = _run(_block("InMemoryRunStore()"), "first")
    before = _run(_block("SqliteDatabase("), "before")
    run_id = before.rt.start(workflow=first.wf)
    waiting = before.rt.tick(workflow=first.wf, run_id=run_id)
    before.database.close()
    after = _run(_block("SqliteDatabase("), "after")
    key = waiting.waiting.wait_key
    state = after.rt.resume(workflow=first.wf, run_id=run_id, wait_key=key, payload={"text": "yes"})
    after.database.close()
    assert state.output == {"answer": "yes"}


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch) -> App:
    """The README's flows.py, importable."""
    module = _run(_block("app = App("), "flows")
    monkeypatch.setitem(sys.modules, "flows", module)
    app = module.app
    assert isinstance(app, App)
    return app


def test_the_web_backend_starts_runs_once_and_takes_payments_once(
    flows: App, sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    database = open_database(sqlite_url)
    upgrade(database)
    database.close()
    web = _run(_block("FastAPI("), "web")
    with TestClient(web.api) as browser, Client(flows, settings=load_settings()) as client:
        first = browser.post("/orders/7", params={"amount": 12.5}).json()
        assert browser.post("/orders/7", params={"amount": 12.5}).json() == first == {"run_id": "order-7"}
        pump = Pump(client)
        pump.until_idle()
        assert browser.get("/orders/7").json()["node"] == "confirm"
        paid = browser.post("/payments/7", params={"payment_id": "p1"}).json()
        assert paid == {"accepted": True, "resumed": ["order-7"]}
        assert browser.post("/payments/7", params={"payment_id": "p1"}).json()["accepted"] is False
        pump.until_idle()
        state = browser.get("/orders/7").json()
        assert state["status"] == "completed"
        assert state["output"]["payment"]["payload"] == {"payment_id": "p1"}


def test_every_python_block_is_run_above() -> None:
    run_here = ("InMemoryRunStore()", "SqliteDatabase(", "app = App(", "FastAPI(")
    assert len(BLOCKS) == len(run_here)
    assert len({_block(text) for text in run_here}) == len(run_here)
