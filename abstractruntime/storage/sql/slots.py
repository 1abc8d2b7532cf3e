"""Slots of limits in SQL; see `slots.Slots`."""

from __future__ import annotations

from abstractruntime.core.limit_terms import Terms

from ..checkpoints import ADMITTED, Task
from ..slots import MAX_CALLS, UNSENT, Usage, Waiter
from . import statements as sql
from .driver import Session
from .engine import Database

__all__ = ["SqlSlots", "forget_claims"]

# Whether the run of a held row still uses its slot is read from the run itself.
_LIVE = """(CASE s.scope
    WHEN 'lease' THEN r.lease_until IS NOT NULL AND r.lease_until > {now}
    WHEN 'run' THEN r.status IN ('running', 'waiting') AND r.admission = 'admitted'
    ELSE r.status = 'running' AND r.admission = 'admitted' END)"""
_OVER = """(r.run_id IS NULL OR (CASE s.scope
    WHEN 'lease' THEN r.lease_until IS NULL OR r.lease_until <= {now}
    ELSE r.status NOT IN ('running', 'waiting') OR coalesce(r.admission, '') <> 'admitted' END))"""
_USAGE = sql.statement(f"""
SELECT {{now}}, coalesce(sum(CASE WHEN {_LIVE} AND s.run_id <> :but THEN 1 ELSE 0 END), 0),
       min(CASE WHEN s.scope = 'lease' AND {_LIVE} AND s.run_id <> :but THEN r.lease_until END),
       coalesce(sum(CASE WHEN {_OVER} THEN 1 ELSE 0 END), 0)
FROM limit_slots s LEFT JOIN runs r ON r.run_id = s.run_id
WHERE s.limit_key = :key AND s.state = 'held'
""")
_DROP_OVER = sql.statement(f"""
DELETE FROM limit_slots WHERE limit_key = :key AND state = 'held' AND run_id IN (
    SELECT s.run_id FROM limit_slots s LEFT JOIN runs r ON r.run_id = s.run_id
    WHERE s.limit_key = :key AND s.state = 'held' AND {_OVER})
""")
_CLAIMS = sql.statement("""
SELECT claimed_at FROM limit_claims WHERE limit_key = :key AND claimed_at > {now} - :per_s
ORDER BY claimed_at DESC LIMIT :count
""")
_ADD_CLAIM = sql.statement("""
INSERT INTO limit_claims (limit_key, claimed_at, expires_at) VALUES (:key, {now}, {now} + :per_s)
""")
_DROP_CLAIMS = sql.statement("DELETE FROM limit_claims WHERE limit_key = :key AND expires_at <= {now}")
_SOME_CLAIM = sql.statement("SELECT 1 FROM limit_claims WHERE expires_at <= {now} LIMIT 1")
_OLD_CLAIMS = "SELECT seq FROM limit_claims WHERE expires_at <= {now} ORDER BY expires_at LIMIT :limit"
_FORGET_CLAIMS = sql.statement(
    f"DELETE FROM limit_claims WHERE seq IN ({_OLD_CLAIMS})",
    postgresql=f"DELETE FROM limit_claims WHERE seq IN ({_OLD_CLAIMS} FOR UPDATE SKIP LOCKED)",
)
_HELD_BY = sql.statement("""
SELECT limit_key, terms_json FROM limit_slots WHERE run_id = :run_id AND state = 'held' ORDER BY limit_key
""")
_RANK_OF = sql.statement("SELECT min(rank) FROM limit_slots WHERE run_id = :run_id AND state = 'waiting'")
_LEAVE_LINES = sql.statement("DELETE FROM limit_slots WHERE run_id = :run_id AND state = 'waiting'")
_PUT = sql.statement("""
INSERT INTO limit_slots (limit_key, run_id, state, scope, terms_json, version, rank)
VALUES (:key, :run_id, :state, :scope, :terms, :version, :rank)
ON CONFLICT (limit_key, run_id) DO UPDATE SET state = excluded.state, scope = excluded.scope,
    terms_json = excluded.terms_json, version = excluded.version, rank = excluded.rank, called_at = NULL,
    calls = 0
""")
_LINE = sql.statement("""
SELECT s.run_id, s.version, s.rank, s.called_at, r.task, r.current_node, r.workflow_id,
       (r.version = s.version AND r.status = 'running')
FROM limit_slots s LEFT JOIN runs r ON r.run_id = s.run_id
WHERE s.limit_key = :key AND s.state = 'waiting' AND s.calls < :max_calls
ORDER BY s.rank, s.run_id LIMIT :limit
""")
_LEAVE_LINE = sql.statement("""
DELETE FROM limit_slots WHERE limit_key = :key AND run_id = :run_id AND state = 'waiting'
""")
_AHEAD = sql.statement("""
SELECT count(*) FROM (
    SELECT 1 AS one FROM limit_slots
    WHERE limit_key = :key AND state = 'waiting' AND (rank, run_id) < (:rank, :run_id) LIMIT :limit
) AS ahead
""")
_CALL_RUN = sql.statement("""
UPDATE runs SET wake_at = :wake_at, redeliveries = 0 WHERE run_id = :run_id AND version = :version
""")
_CALL = sql.statement("""
UPDATE limit_slots SET called_at = :called_at, calls = calls + 1 WHERE limit_key = :key AND run_id = :run_id
""")
_HOLD = sql.statement("""
UPDATE runs SET wake_at = :wake_at, hold_reason = :reason, redeliveries = :unsent,
    admission = coalesce(:admission, admission)
WHERE run_id = :run_id AND version = :version
""")
_ADMIT = sql.statement("""
UPDATE runs SET admission = :admitted, hold_reason = NULL, redeliveries = 0
WHERE run_id = :run_id AND version = :version AND coalesce(admission, '') <> :admitted
""")


class SqlSlots:
    """The statements of `slots.Slots`, on whatever transaction the session is in."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def usage(self, key: str, terms: Terms, *, but: str = "") -> Usage:
        now, live, first_end, over = self._session.execute(_USAGE, {"key": key, "but": but}).fetchone()
        if over:
            self._session.execute(_DROP_OVER, {"key": key})
        claims: tuple[float, ...] = ()
        if terms.count is not None:
            params = {"key": key, "per_s": terms.per_s, "count": terms.count}
            claims = tuple(row[0] for row in reversed(self._session.execute(_CLAIMS, params).fetchall()))
        return Usage(float(now), int(live), first_end, claims)

    def held_by(self, run_id: str) -> list[tuple[str, Terms]]:
        rows = self._session.execute(_HELD_BY, {"run_id": run_id}).fetchall()
        return [(key, Terms.from_text(text)) for key, text in rows]

    def rank_of(self, run_id: str) -> float | None:
        rank: float | None = self._session.execute(_RANK_OF, {"run_id": run_id}).fetchone()[0]
        return rank

    def take(self, run_id: str, claims: list[tuple[str, Terms]]) -> None:
        self._session.execute(_LEAVE_LINES, {"run_id": run_id})
        for key, terms in claims:
            self._put(key, run_id, "held", terms, 0, 0.0)
            if terms.count is not None:
                self._session.execute(_DROP_CLAIMS, {"key": key})
                self._session.execute(_ADD_CLAIM, {"key": key, "per_s": terms.per_s})

    def queue_up(self, key: str, run_id: str, version: int, terms: Terms, rank: float) -> None:
        self._session.execute(_LEAVE_LINES, {"run_id": run_id})
        self._put(key, run_id, "waiting", terms, version, rank)

    def _put(self, key: str, run_id: str, state: str, terms: Terms, version: int, rank: float) -> None:
        self._session.execute(
            _PUT,
            {
                "key": key,
                "run_id": run_id,
                "state": state,
                "scope": terms.scope.value,
                "terms": terms.to_text(),
                "version": version,
                "rank": rank,
            },
        )

    def line(self, key: str, limit: int) -> list[Waiter]:
        if limit <= 0:
            return []
        params = {"key": key, "limit": limit, "max_calls": MAX_CALLS}
        while True:
            found: list[Waiter] = []
            rows = self._session.execute(_LINE, params).fetchall()
            for run_id, version, rank, called_at, task, node, workflow_id, waits in rows:
                if waits:
                    place = Waiter(run_id, version, rank, called_at, Task(task), node or "", workflow_id)
                    found.append(place)
                else:
                    self._session.execute(_LEAVE_LINE, {"key": key, "run_id": run_id})
            if len(found) == len(rows):
                return found

    def ahead(self, key: str, rank: float, run_id: str, limit: int) -> int:
        params = {"key": key, "rank": rank, "run_id": run_id, "limit": limit}
        return int(self._session.execute(_AHEAD, params).fetchone()[0])

    def call(self, key: str, waiter: Waiter, *, called_at: float, wake_at: float) -> bool:
        params = {"run_id": waiter.run_id, "version": waiter.version, "wake_at": wake_at}
        if self._session.execute(_CALL_RUN, params).rowcount != 1:
            return False
        self._session.execute(_CALL, {"key": key, "run_id": waiter.run_id, "called_at": called_at})
        return True

    def hold(self, run_id: str, version: int, *, wake_at: float, reason: str, admission: str | None) -> bool:
        params = {
            "run_id": run_id,
            "version": version,
            "wake_at": wake_at,
            "reason": reason,
            "unsent": UNSENT,
            "admission": admission,
        }
        return self._session.execute(_HOLD, params).rowcount == 1

    def admit(self, run_id: str, version: int) -> bool:
        params = {"run_id": run_id, "version": version, "admitted": ADMITTED}
        return self._session.execute(_ADMIT, params).rowcount == 1


def forget_claims(database: Database, *, limit: int) -> int:
    """See `checkpoints.CheckpointStore.forget_claims`."""
    # A look first: on SQLite the removal needs the write lock, and mostly there is nothing to remove.
    if not database.read(lambda session: session.execute(_SOME_CLAIM).fetchall()):
        return 0
    with database.transaction() as session:
        return session.execute(_FORGET_CLAIMS, {"limit": limit}).rowcount
