"""Tools as plain functions by name (`spec/04 §7.2`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import groupby
from typing import Any

from abstractruntime.core.errors import InvalidInputError

from .arguments import canonical_arguments, parameters_of, unwrapped
from .failures import judged, timed_out
from .isolated import call_isolated, importable_name
from .path_parameters import declared_paths, paths_of_function
from .shapes import ToolCall, ToolResult, call_name, result_of, unlimited_or
from .threads import TimedOutError, call_within

__all__ = ["MappingToolExecutor"]


class MappingToolExecutor:
    """Calls the functions it was given. This is the executor to use (`spec/04 §7.2`).

    Args:
        tool_map: functions by tool name.
        timeout_s: seconds per call; ``None``, what is not positive, and what is no number = unlimited. A call
            over its time fails with ``timed_out`` true in its result; unless isolated it goes on in a thread.
        read_only: names of tools that change nothing, so that several may run at once.
        max_parallel: how many calls of ``read_only`` tools that follow each other run at once; results keep
            the order of the calls.
        isolated: names of tools that run in a process of their own each, which ends with the call: stopped
            when the time is over. Costs a start of Python per call.
        paths: names of path parameters by tool name, for functions that can't be decorated with
            `path_parameters`.

    Raises:
        InvalidInputError: a name that is not in ``tool_map``, ``max_parallel`` under 1, or an isolated
            function that another process can't import.
    """

    delegates = False

    def __init__(
        self,
        tool_map: Mapping[str, Callable[..., Any]],
        *,
        timeout_s: float | None = None,
        read_only: Collection[str] = (),
        max_parallel: int = 1,
        isolated: Collection[str] = (),
        paths: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._tools = dict(tool_map)
        self._timeout_s = unlimited_or(timeout_s)
        self._parameters = {name: parameters_of(function) for name, function in self._tools.items()}
        self._read_only = self._names(read_only, "read_only")
        self._isolated = self._names(isolated, "isolated")
        self._paths = {name: declared_paths(names) for name, names in (paths or {}).items()}
        self._names(self._paths, "paths")
        if max_parallel < 1:
            raise InvalidInputError(f"max_parallel is {max_parallel}; use 1 (one after another) or more")
        self._max_parallel = max_parallel
        for name in self._isolated:
            importable_name(self._tools[name])

    def _names(self, names: Collection[str], option: str) -> frozenset[str]:
        unknown = sorted(set(names) - set(self._tools))
        if isinstance(names, str) or unknown:
            raise InvalidInputError(
                f"{option} must name tools of the map ({', '.join(sorted(self._tools))}); got {names!r}"
            )
        return frozenset(names)

    @classmethod
    def from_tools(
        cls, tools: Iterable[Callable[..., Any]], *, timeout_s: float | None = None, **options: Any
    ) -> MappingToolExecutor:
        """From functions: the name is their ``_tool_definition.name`` (AbstractCore's ``@tool``), else
        ``__name__``. ``options``: see the class.

        Raises:
            ValueError: a tool without name, one that can't be called, or two of one name.
        """
        tool_map: dict[str, Callable[..., Any]] = {}
        paths: dict[str, Iterable[str]] = {}
        for tool in tools:
            name, function = _named(tool)
            if name in tool_map:
                raise InvalidInputError(f"Duplicate tool name '{name}'")
            tool_map[name] = function
            declared = paths_of_function(tool)
            if declared is not None:
                paths[name] = declared
        options["paths"] = {**paths, **(options.get("paths") or {})}
        return cls(tool_map, timeout_s=timeout_s, **options)

    def set_timeout_s(self, timeout_s: float | None) -> None:
        """Seconds per call from now on."""
        self._timeout_s = unlimited_or(timeout_s)

    def canonical_arguments(self, name: str, arguments: Any) -> dict[str, Any]:
        """The arguments as the tool will be called.

        Raises:
            ValueError: they are wrapped too often, see `_tool_arguments.unwrapped`.
        """
        parameters = self._parameters.get(name)
        return unwrapped(arguments) if parameters is None else canonical_arguments(arguments, parameters)

    def path_parameters(self, name: str) -> tuple[str, ...] | None:
        """Which parameters of the tool are declared to be paths; ``None`` = nobody has said."""
        if name in self._paths:
            return self._paths[name]
        function = self._tools.get(name)
        return None if function is None else paths_of_function(function)

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """``{"mode": "executed", "results": [...]}``, one result per call, in their order."""
        return {"mode": "executed", "results": list(self.execute_each(tool_calls=tool_calls))}

    def execute_each(self, *, tool_calls: list[ToolCall]) -> Iterator[ToolResult]:
        """The results one by one; a call begins when the result before it was taken."""
        if self._max_parallel == 1:
            yield from map(self._result, tool_calls)
            return
        for is_read_only, group in groupby(tool_calls, self._is_read_only):
            if is_read_only:
                yield from self._side_by_side(list(group))
            else:
                yield from map(self._result, group)

    def _is_read_only(self, call: ToolCall) -> bool:
        return call_name(call) in self._read_only

    def _side_by_side(self, calls: list[ToolCall]) -> Iterator[ToolResult]:
        if len(calls) == 1:
            yield self._result(calls[0])
            return
        with ThreadPoolExecutor(min(self._max_parallel, len(calls)), "tool-calls") as pool:
            futures = [pool.submit(copy_context().run, self._result, call) for call in calls]
            for future in futures:
                yield future.result()

    def _result(self, call: ToolCall) -> ToolResult:
        name = call_name(call)
        function = self._tools.get(name)
        if function is None:
            return result_of(call, error=f"Tool '{name}' not found")
        timeout_s = self._timeout_s
        try:
            arguments = self.canonical_arguments(name, call.get("arguments"))
            if name in self._isolated:
                value = call_isolated(function, arguments, timeout_s)
            else:
                value = call_within(timeout_s, lambda: function(**arguments))
        except TimedOutError:
            return timed_out(call, timeout_s)
        except (Exception, SystemExit) as exc:
            return result_of(call, error=str(exc))
        return judged(call, value)


def _named(tool: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    definition = getattr(tool, "_tool_definition", None)
    name = str(getattr(definition, "name", None) or getattr(tool, "__name__", None) or "").strip()
    function = getattr(definition, "function", None) or tool
    if not name:
        raise InvalidInputError("Tool is missing a name")
    if not callable(function):
        raise InvalidInputError(f"Tool '{name}' is not callable")
    return name, function
