"""Where tools may go (`spec/04 §10`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import RunState
from abstractruntime.integrations.abstractcore._llm_call.unfollowed_open import open_unfollowed
from abstractruntime.integrations.abstractcore._workspace.scope import scope_of_run
from abstractruntime.integrations.abstractcore.tool_executor import (
    MappingToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.integrations.abstractcore.workspace_scoped_tools import (
    WorkspaceScope,
    WorkspaceScopedToolExecutor,
    path_parameters,
    resolve_user_path,
    resolve_workspace_base_dir,
    rewrite_tool_arguments,
)

from .toolbox import Recording, call, echoed, handled, make_run, result, results


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = (tmp_path / "project").resolve()
    (made / "docs").mkdir(parents=True)
    (made / "docs" / "a.md").write_text("inside")
    (tmp_path / "secret.txt").write_text("outside")
    return made


@pytest.fixture
def secret(root: Path) -> str:
    return str(root.parent / "secret.txt")


def scope_of(root: Path, **data: Any) -> WorkspaceScope:
    made = WorkspaceScope.from_input_data({"workspace_root": str(root), **data})
    assert made is not None
    return made


# -- what run variables ask for -----------------------------------------------------------------


@pytest.mark.parametrize("raw", [None, "", "   "])
def test_without_a_root_there_is_no_policy(raw: Any) -> None:
    data = {"workspace_root": raw, "workspace_access_mode": "nonsense"}
    assert WorkspaceScope.from_input_data(data) is None


def test_a_root_is_created_with_its_parents(tmp_path: Path) -> None:
    scope = scope_of(tmp_path / "new" / "deep")
    assert scope.root.is_dir()
    assert scope == WorkspaceScope(scope.root, "workspace_only", (), ())


def test_another_key_and_base_dir(tmp_path: Path) -> None:
    scope = WorkspaceScope.from_input_data({"where": "sub"}, key="where", base_dir=tmp_path)
    assert scope is not None
    assert scope.root == (tmp_path / "sub").resolve()


def test_a_file_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^workspace_root must be a directory \(got file\): .*file$"):
        scope_of(tmp_path / "file")


def test_unknown_mode(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^Invalid workspace_access_mode: 'all' \(expected one of: \["):
        scope_of(root, workspace_access_mode="all")


@pytest.mark.parametrize("value", [["docs", "/abs"], '["docs", "/abs"]', "docs\n\n /abs \n"])
@pytest.mark.parametrize("names", [("workspace_ignored_paths", "workspace_allowed_paths"), None])
def test_lists_of_paths(root: Path, value: Any, names: tuple[str, str] | None) -> None:
    ignored, allowed = names or ("workspaceIgnoredPaths", "workspaceAllowedPaths")
    scope = scope_of(root, **{ignored: value, allowed: value, "workspaceAccessMode": "all_except_ignored"})
    assert scope.ignored_paths == scope.allowed_paths == (root / "docs", Path("/abs"))
    assert scope.access_mode == "all_except_ignored"


def test_base_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ABSTRACT_WORKSPACE_BASE_DIR", "ABSTRACTFLOW_WORKSPACE_BASE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert resolve_workspace_base_dir() == Path.cwd()
    monkeypatch.setenv("ABSTRACTFLOW_WORKSPACE_BASE_DIR", str(tmp_path / "two"))
    assert resolve_workspace_base_dir() == (tmp_path / "two").resolve()
    monkeypatch.setenv("ABSTRACT_WORKSPACE_BASE_DIR", str(tmp_path / "one"))
    assert scope_of(Path("rel")).root == (tmp_path / "one" / "rel").resolve()


@pytest.mark.weakness("spec/04 §16.27")
def test_a_run_finds_its_scope_out_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original: Callable[..., Any] = WorkspaceScope.from_input_data.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, data: Any, **more: Any) -> Any:
        asked.append(data)
        return original(cls, data, **more)

    monkeypatch.setattr(WorkspaceScope, "from_input_data", classmethod(counted))
    variables = {"workspace_root": str(root)}
    first = scope_of_run("run-once", variables)
    assert scope_of_run("run-once", dict(variables)) is first
    assert len(asked) == 1
    assert scope_of_run("run-once", {**variables, "workspace_ignored_paths": ["docs"]}) != first
    assert len(asked) == 2


# -- paths --------------------------------------------------------------------------------------


def resolved(scope: WorkspaceScope, path: str) -> Path:
    return resolve_user_path(scope=scope, user_path=path)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("docs/a.md", "docs/a.md"),
        ("@docs/a.md", "docs/a.md"),
        ("./docs/../docs/a.md", "docs/a.md"),
        ("not/there/yet", "not/there/yet"),
        ("project/docs/a.md", "docs/a.md"),
        ("project", "."),
        (".", "."),
    ],
)
def test_relative_paths(root: Path, path: str, leads_to: str) -> None:
    assert resolved(scope_of(root), path) == (root / leads_to).resolve()


def test_a_child_of_the_roots_own_name(root: Path) -> None:
    (root / "project").mkdir()
    assert resolved(scope_of(root), "project/x") == root / "project" / "x"


@pytest.mark.parametrize("path", ["", "  ", "@", "@ "])
def test_empty_path(root: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r"^Empty path$"):
        resolved(scope_of(root), path)


def test_absolute_paths_by_mode(root: Path, secret: str) -> None:
    inside = str(root / "docs" / "a.md")
    allowed = str(root.parent / "allowed" / "x")
    only = scope_of(root)
    several = scope_of(
        root, workspace_access_mode="workspace_or_allowed", workspace_allowed_paths=["../allowed"]
    )
    all_of = scope_of(root, workspace_access_mode="all_except_ignored", workspace_ignored_paths=["docs"])
    assert resolved(only, inside) == resolved(several, inside) == Path(inside)
    assert resolved(several, allowed) == Path(allowed)
    assert resolved(all_of, secret) == Path(secret)
    for scope, path, message in [
        (only, secret, f"Path escapes workspace_root: '{secret}'"),
        (only, "../secret.txt", "Path escapes workspace_root: '../secret.txt'"),
        (several, secret, f"Path is outside workspace roots: '{secret}'"),
        (several, "../allowed/x", "Path escapes workspace_root: '../allowed/x'"),
        (all_of, "../secret.txt", "Path escapes workspace_root: '../secret.txt'"),
        (all_of, inside, f"Path is blocked by workspace_ignored_paths: '{inside}'"),
        (all_of, "docs", "Path is blocked by workspace_ignored_paths: 'docs'"),
    ]:
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
            resolved(scope, path)
        assert str(refused.value) == message


def test_links_lead_where_they_lead(root: Path, secret: str) -> None:
    (root / "link").symlink_to(secret)
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(ValueError, match=r"^Path escapes workspace_root: 'link'$"):
        resolved(scope_of(root), "link")
    with pytest.raises(ValueError, match=r"^Path (can't be resolved|escapes)"):
        resolved(scope_of(root), "loop/x\0")


def test_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    assert resolved(scope_of(root), "~/docs/a.md") == root / "docs" / "a.md"


def test_mounts(root: Path) -> None:
    other, twin = root.parent / "My Notes", root.parent / "deep" / "my-notes"
    scope = scope_of(
        root,
        workspace_access_mode="workspace_or_allowed",
        workspace_allowed_paths=[str(other), str(twin), "docs"],
    )
    suffix = hashlib.sha256(str(twin).encode()).hexdigest()[:8]
    assert resolved(scope, "my-notes/x.md") == other / "x.md"
    assert resolved(scope, f"my-notes_{suffix}/x.md") == twin / "x.md"
    assert resolved(scope, "docs/a.md") == root / "docs" / "a.md"
    assert resolved(scope, "my-notes") == root / "my-notes"  # a mount is named by the first of two parts
    with pytest.raises(ValueError, match=r"^Path escapes workspace_root: 'my-notes/../x'$"):
        resolved(scope, "my-notes/../x")


@pytest.mark.weakness("spec/04 §16.27")
def test_what_is_opened_is_what_was_judged(root: Path) -> None:
    """A folder that became a link since is not followed."""
    judged = root / "docs" / "a.md"
    with open_unfollowed(judged) as file:
        assert file.read() == b"inside"
    (root / "docs").rename(root / "moved")
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.md").write_text("outside")
    (root / "docs").symlink_to(elsewhere)
    with pytest.raises(OSError, match="docs"):
        open_unfollowed(judged)
    with pytest.raises(IsADirectoryError):
        open_unfollowed(root / "moved")


# -- arguments ----------------------------------------------------------------------------------


def rewritten(root: Path, tool: str, args: dict[str, Any]) -> dict[str, Any]:
    return rewrite_tool_arguments(tool_name=tool, args=args, scope=scope_of(root))


@pytest.mark.parametrize(
    ("tool", "args", "expected"),
    [
        ("list_files", {"pattern": "*"}, {"pattern": "*", "directory_path": "."}),
        ("list_files", {"directory_path": "docs"}, {"directory_path": "docs"}),
        ("list_files", {"path": "docs"}, {"directory_path": "docs"}),
        ("search_files", {"pattern": "x"}, {"pattern": "x", "path": "."}),
        ("search_files", {"pattern": "/etc/x", "path": "docs"}, {"pattern": "/etc/x", "path": "docs"}),
        ("execute_command", {"command": "ls /"}, {"command": "ls /", "working_directory": "."}),
        ("read_file", {"path": "docs/a.md"}, {"file_path": "docs/a.md"}),
        ("read_file", {"filename": "a", "start_line": 2}, {"start_line": 2, "file_path": "a"}),
        ("read_file", {"filePath": "docs/a.md"}, {"file_path": "docs/a.md"}),
        ("write_file", {"file": "n", "content": "c"}, {"content": "c", "file_path": "n"}),
        ("edit_file", {"file_path": "a", "path": "/etc/x"}, {"file_path": "a"}),
        ("analyze_code", {"file_path": "", "path": "a"}, {"file_path": "a"}),
        ("analyze_media", {"file_path": "a"}, {"file_path": "a"}),
        ("skim_files", {"paths": ["a", " ", "b"]}, {"paths": ["a", "b"]}),
        ("skim_files", {"paths": "a"}, {"paths": ["a"]}),
        ("skim_files", {"paths": '["a", "b"]'}, {"paths": ["a", "b"]}),
        ("skim_files", {"file_path": "a"}, {"paths": ["a"]}),
        ("skim_folders", {"folder": "docs"}, {"paths": ["docs"]}),
    ],
)
def test_rewriting(root: Path, tool: str, args: dict[str, Any], expected: dict[str, Any]) -> None:
    path_names = {"file_path", "directory_path", "path", "paths", "working_directory"}

    def absolute(value: Any) -> Any:
        return [str(root / each) for each in value] if isinstance(value, list) else str(root / value)

    wanted = {name: absolute(value) if name in path_names else value for name, value in expected.items()}
    assert rewritten(root, tool, args) == wanted


@pytest.mark.parametrize(
    ("tool", "args", "message"),
    [
        ("read_file", {}, "read_file requires file_path"),
        ("edit_file", {"file_path": " "}, "edit_file requires file_path"),
        ("skim_files", {"paths": []}, "skim_files requires paths"),
        ("skim_folders", {"paths": [None, ""]}, "skim_folders requires paths"),
        ("list_files", {"path": "/etc"}, "Path escapes workspace_root: '/etc'"),
        ("search_files", {"directory_path": "/etc"}, "Path escapes workspace_root: '/etc'"),
        (
            "skim_files",
            {"paths": ["docs/a.md", "../secret.txt"]},
            "Path escapes workspace_root: '../secret.txt'",
        ),
        ("read_file", {"file_path": 5}, "A path must be a text, not int"),
    ],
)
def test_rewriting_refuses(root: Path, tool: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        rewritten(root, tool, args)


def test_other_tools_are_left_alone(root: Path) -> None:
    args = {"path": "/etc", "deep": [1]}
    assert rewritten(root, "web_search", args) == args


@pytest.mark.weakness("spec/04 §16.13")
def test_nested_arguments_are_judged(root: Path, secret: str) -> None:
    with pytest.raises(ValueError, match=r"^Path escapes workspace_root"):
        rewritten(root, "read_file", {"file_path": "docs/a.md", "arguments": {"file_path": secret}})


# -- the executor behind the policy -------------------------------------------------------------


def test_scoped_executor(root: Path, secret: str) -> None:
    delegate = Recording()
    executor = WorkspaceScopedToolExecutor(scope=scope_of(root), delegate=delegate)
    answer = executor.execute(
        tool_calls=[
            call("read_file", {"path": secret}, "no", runtime_call_id="r0"),
            call("read_file", {"path": "docs/a.md"}, None, id="given"),
            call("add", {"a": 1}, None),
        ]
    )
    assert [each["call_id"] for each in delegate.batches[0]] == ["given", "call_2"]
    assert answer["mode"] == "executed"
    assert answer["results"][0] == {
        **result(call("read_file", None, "no"), error=f"Path escapes workspace_root: '{secret}'"),
        "runtime_call_id": "r0",
    }
    assert answer["results"][1]["output"] == {"file_path": str(root / "docs" / "a.md")}
    assert answer["results"][2]["output"] == {"a": 1}


def test_scoped_executor_misses_results_and_hands_other_answers_on(root: Path) -> None:
    short = Recording({"mode": "executed", "results": []})
    executor = WorkspaceScopedToolExecutor(scope=scope_of(root), delegate=short)
    (found,) = executor.execute(tool_calls=[call("add")])["results"]
    assert found["error"] == "Tool result missing (internal error)"
    waiting = WorkspaceScopedToolExecutor(scope=scope_of(root), delegate=PassthroughToolExecutor(mode="ask"))
    assert waiting.execute(tool_calls=[call("add")])["mode"] == "ask"
    assert waiting.delegates is True
    waiting.set_timeout_s(1)  # the delegate has none


def test_scoped_executor_forwards_the_time_out(root: Path) -> None:
    class Timed(Recording):
        timeout_s: Any = None

        def set_timeout_s(self, timeout_s: Any) -> None:
            self.timeout_s = timeout_s

    delegate = Timed()
    WorkspaceScopedToolExecutor(scope=scope_of(root), delegate=delegate).set_timeout_s(3)
    assert delegate.timeout_s == 3


# -- the policy in the handler ------------------------------------------------------------------


def in_workspace(root: Path, **data: Any) -> RunState:
    return make_run(vars={"workspace_root": str(root), **data})


def read(file_path: str) -> str:
    return Path(file_path).read_text()


def error_of(tools: Any, run: RunState, *calls: dict[str, Any]) -> Any:
    return results(handled(tools, list(calls), run=run))[0]["error"]


@pytest.mark.weakness("spec/04 §16.13")
@pytest.mark.parametrize(
    "arguments",
    [
        lambda secret: {"file_path": "docs/a.md", "arguments": {"file_path": secret}},
        lambda secret: {"file_path": "docs/a.md", "arguments": f'{{"file_path": "{secret}"}}'},
        lambda secret: {"arguments": {"arguments": {"filePath": secret}}, "path": "docs/a.md"},
        lambda secret: {"FILE-PATH": secret},
        lambda secret: {"filename": secret},
        lambda secret: f'{{"arguments": {{"path": "{secret}"}}}}',
        lambda secret: {"file_path": f"@{secret}"},
    ],
)
@pytest.mark.parametrize("kind", ["mapping", "recording"])
def test_no_form_of_arguments_leads_out(
    root: Path, secret: str, arguments: Callable[[str], Any], kind: str
) -> None:
    seen = Recording()
    tools = MappingToolExecutor({"read_file": read}) if kind == "mapping" else seen
    error = error_of(tools, in_workspace(root), call("read_file", arguments(secret)))
    assert error.startswith("Path escapes workspace_root: ")
    assert not seen.batches


@pytest.mark.weakness("spec/04 §16.13")
def test_what_can_not_be_unwrapped_is_refused(root: Path) -> None:
    """An executor that doesn't unwrap may have somebody behind it who does."""

    class Raw(Recording):
        def canonical_arguments(self, name: str, arguments: Any) -> dict[str, Any]:
            return dict(arguments)

    tools = Raw()
    args = {"file_path": "docs/a.md", "arguments": {"file_path": "/etc/passwd"}}
    error = error_of(tools, in_workspace(root), call("read_file", args))
    assert error == "read_file: arguments inside 'arguments' can't be judged by the workspace policy"
    assert not tools.batches


def test_executor_and_host_see_absolute_paths(root: Path) -> None:
    full = str(root / "docs" / "a.md")
    tools = MappingToolExecutor({"read_file": read})
    (found,) = results(handled(tools, [call("read_file", {"path": "docs/a.md"})], run=in_workspace(root)))
    assert found["output"] == "inside"
    outcome = handled(
        PassthroughToolExecutor(), [call("read_file", {"path": "docs/a.md"})], run=in_workspace(root)
    )
    assert outcome.wait is not None
    assert outcome.wait.details is not None
    assert outcome.wait.details["tool_calls"][0]["arguments"] == {"file_path": full}


def test_refused_paths_are_shown_to_no_host(root: Path, secret: str) -> None:
    asked = [call("read_file", {"path": secret}, "1"), call("add", {"a": 1}, "2")]
    outcome = handled(PassthroughToolExecutor(), asked, run=in_workspace(root))
    assert outcome.wait is not None
    assert outcome.wait.details is not None
    assert outcome.wait.details["tool_calls"] == asked[1:]
    assert [each["arguments"] for each in outcome.wait.details["tool_calls_for_evidence"]] == [{}, {"a": 1}]


def test_an_invalid_policy_fails_the_effect(root: Path) -> None:
    outcome = handled(Recording(), [], run=in_workspace(root, workspace_access_mode="x"))
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("Invalid workspace_access_mode: 'x'")


@pytest.mark.weakness("spec/04 §16.29")
def test_failures_have_a_kind(root: Path) -> None:
    outcomes = [
        handled(Recording(), [], run=in_workspace(root, workspace_access_mode="x")),
        handled(Recording(), "no list"),
        handled(None, []),
        handled(Recording(RuntimeError("down")), [call("t")]),
    ]
    assert [outcome.kind for outcome in outcomes] == ["policy", "validation", "validation", "provider"]


def compress(source: str, target: str = "", note: str = "") -> list[str]:
    return [source, target, note]


@path_parameters("source", "target")
def declared(source: str, target: Any = "", note: str = "") -> list[Any]:
    return [source, target, note]


@path_parameters()
def pathless(path: str) -> str:
    return path


@pytest.mark.weakness("spec/04 §16.14")
@pytest.mark.parametrize("how", ["decorated", "by name"])
def test_declared_path_parameters_are_scoped(root: Path, secret: str, how: str) -> None:
    if how == "decorated":
        tools = MappingToolExecutor.from_tools([declared])
    else:
        tools = MappingToolExecutor({"declared": compress}, paths={"declared": ["source", "target"]})
    run = in_workspace(root)
    args = {"source": "docs/a.md", "target": "out.zip", "note": "/keep/me"}
    (found,) = results(handled(tools, [call("declared", args)], run=run))
    assert found["output"] == [str(root / "docs" / "a.md"), str(root / "out.zip"), "/keep/me"]
    error = error_of(tools, run, call("declared", {"source": "docs/a.md", "target": secret}))
    assert error == f"Path escapes workspace_root: '{secret}'"


@pytest.mark.weakness("spec/04 §16.14")
def test_declared_parameters_in_other_spellings(root: Path, secret: str) -> None:
    """A host that executes the calls may mend the spelling after the policy."""
    tools = PassthroughToolExecutor(paths={"pack": ["out_path", "file_path"]})
    for args in ({"outPath": secret}, {"filename": secret}):
        error = error_of(tools, in_workspace(root), call("pack", args))
        assert error == f"Path escapes workspace_root: '{secret}'"


@pytest.mark.weakness("spec/04 §16.14")
@pytest.mark.parametrize(
    "args",
    [
        {"source": "/etc/passwd"},
        {"source": "x/../../y"},
        {"source": ["ok", {"deep": "~/x"}]},
        {"source": "file:///etc/passwd"},
        {"source": r"C:\Users\x"},
    ],
)
def test_undeclared_paths_are_denied_in_the_workspace_only(root: Path, args: dict[str, Any]) -> None:
    tools = MappingToolExecutor({"compress": compress})
    error = error_of(tools, in_workspace(root), call("compress", args))
    assert "path parameters are not declared" in error
    everywhere = in_workspace(root, workspace_access_mode="all_except_ignored")
    (found,) = results(handled(tools, [call("compress", args)], run=everywhere))
    assert found["success"] is True


@pytest.mark.weakness("spec/04 §16.14")
@pytest.mark.parametrize("name", ["path", "outputFile", "target_dir", "paths", "folder"])
def test_names_of_paths_are_denied_too(root: Path, name: str) -> None:
    error = error_of(Recording(), in_workspace(root), call("compress", {name: "relative.txt"}))
    assert f"takes a path ({name})" in error


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("compress", {"source": "what is 1/2?", "note": "a\n/b"}),
        ("compress", {"source": ""}),
        ("pathless", {"path": "/api/v1"}),
        ("fetch_url", {"url": "/x"}),
        ("add", {"a": 1}),
    ],
)
def test_other_arguments_pass(root: Path, tool: str, args: dict[str, Any]) -> None:
    class Knowing(Recording):
        def path_parameters(self, name: str) -> tuple[str, ...] | None:
            return () if name == "pathless" else None

    (found,) = results(handled(Knowing(), [call(tool, args)], run=in_workspace(root)))
    assert found["output"] == args


@pytest.mark.weakness("spec/04 §16.14")
def test_attachments_of_mails_are_paths(root: Path, secret: str) -> None:
    error = error_of(
        Recording(), in_workspace(root), call("send_email", {"to": "x", "attachments": [secret]})
    )
    assert error == f"Path escapes workspace_root: '{secret}'"


@pytest.mark.parametrize("args", [{"pattern": "../*"}, {"pattern": "*.md|/etc/*"}])
def test_patterns_stay_in_their_folder(root: Path, args: dict[str, Any]) -> None:
    error = error_of(Recording(), in_workspace(root), call("list_files", args))
    assert error.startswith("list_files: pattern must not leave its folder")


def test_default_tools_obey(root: Path, secret: str) -> None:
    """AbstractCore's own tools under the policy, over the mapping executor."""
    common = pytest.importorskip("abstractcore.tools.common_tools", reason="needs AbstractCore")
    names = ("list_files", "read_file", "search_files", "skim_files", "write_file", "execute_command")
    tools = MappingToolExecutor.from_tools([getattr(common, name) for name in names])
    run = in_workspace(root)
    outcome = handled(
        tools,
        [
            call("write_file", {"path": "docs/b.md", "content": "written\n"}),
            call("read_file", {"filePath": "docs/b.md"}),
            call("list_files", {"directory_path": "docs"}),
            call("search_files", {"query": "written"}),
            call("skim_files", {"paths": "docs/b.md"}),
            call("execute_command", {"command": "pwd"}),
            call("write_file", {"path": "../b.md", "content": "x"}),
            call("skim_files", {"paths": ["docs/b.md", secret]}),
        ],
        run=run,
    )
    found = results(outcome)
    assert [each["success"] for each in found] == [True] * 6 + [False] * 2
    assert found[1]["output"].startswith("File:")
    assert "b.md" in found[2]["output"]
    assert "written" in found[3]["output"]
    assert "written" in found[4]["output"]
    assert str(root) in str(found[5]["output"])
    assert not (root.parent / "b.md").exists()


def test_batches_without_policy_are_left_alone() -> None:
    tools = Recording()
    assert (
        results(handled(tools, [call("read_file", {"path": "/etc/hosts"})]))
        == echoed(tools.batches[0])["results"]
    )


# -- other names of a path that the tool itself doesn't take ------------------------------------


def skim_files(paths: list[str]) -> list[str]:
    return paths


def read_file(file_path: str) -> str:
    return file_path


def search_files(pattern: str, path: str = ".") -> str:
    return path


FILE_TOOLS = {"skim_files": skim_files, "skim_folders": skim_files, "read_file": read_file}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("skim_files", key) for key in ("paths", "path", "file_path", "filename", "file")),
        *(("skim_folders", key) for key in ("paths", "path", "directory_path", "folder")),
        *(("read_file", key) for key in ("file_path", "path", "filename", "file")),
    ],
)
def test_an_alias_of_the_policy_reaches_a_tool_that_does_not_take_it(root: Path, name: str, key: str) -> None:
    executor = MappingToolExecutor(FILE_TOOLS)
    inside, outside = call(name, {key: "docs/a.md"}), call(name, {key: "../secret.txt"})
    outcome = handled(executor, [inside, outside], run=make_run(vars={"workspace_root": str(root)}))
    scoped = WorkspaceScopedToolExecutor(scope=scope_of(root), delegate=executor)
    for made in (results(outcome), scoped.execute(tool_calls=[inside, outside])["results"]):
        seen = made[0]["output"]
        assert (seen[0] if isinstance(seen, list) else seen) == str(root / "docs" / "a.md")
        assert made[1]["error"] == "Path escapes workspace_root: '../secret.txt'"


def test_an_alias_that_the_tool_would_drop_is_judged(root: Path) -> None:
    executor = MappingToolExecutor({"search_files": search_files})
    run = make_run(vars={"workspace_root": str(root)})
    asked = call("search_files", {"pattern": "x", "directory_path": "/etc"})
    outcome = handled(executor, [asked], run=run)
    assert results(outcome)[0]["error"] == "Path escapes workspace_root: '/etc'"
