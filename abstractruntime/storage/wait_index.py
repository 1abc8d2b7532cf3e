"""Which runs wait for which event: an index beside the runs (`spec/01 §19`, row 14)."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["WaitIndex"]


class WaitIndex:
    """Runs by the keys they wait for. Not safe to share among threads by itself."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, ...]] = {}
        self._runs: dict[str, dict[str, None]] = {}

    def put(self, run_id: str, keys: Iterable[str]) -> None:
        """From now on the run waits for these keys and no others; none is fine."""
        for key in self._keys.pop(run_id, ()):
            runs = self._runs[key]
            del runs[run_id]
            if not runs:
                del self._runs[key]
        wanted = tuple(dict.fromkeys(keys))
        if wanted:
            self._keys[run_id] = wanted
        for key in wanted:
            runs = self._runs.pop(key, {})  # to the end: keys are in the order of their newest wait
            runs[run_id] = None
            self._runs[key] = runs

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._keys

    def runs(self, keys: Iterable[str]) -> list[str]:
        """The runs that wait for any of these keys."""
        return list(dict.fromkeys(run_id for key in keys for run_id in self._runs.get(key, ())))

    def keys(self, prefix: str) -> list[str]:
        """The keys with this beginning that some run waits for, newest wait first. Looks at every key, at no
        run."""
        return [key for key in reversed(self._runs) if key.startswith(prefix)]
