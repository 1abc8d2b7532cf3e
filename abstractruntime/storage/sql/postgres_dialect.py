"""PostgreSQL through psycopg 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.engine import URL

from abstractruntime.core.errors import (
    ConcurrentUpdateError,
    ConfigurationError,
    ServiceUnavailableError,
)

from .driver import Cursor, DriverConnection, Parameters, PooledSession, Session
from .statements import BEGIN, COMMIT, Statement

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresDialect", "hide_password"]

# Found out within about a minute when the other end vanished without a word.
_CONNECT_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "abstractruntime",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_RETRY = {"40001", "40P01"}
_SHUTDOWN = {"57P01", "57P02", "57P03", "57P05"}
_REMEDIES = {
    "25006": "The database is read-only (a standby?); point DATABASE_URL at the primary.",
    "42P01": "Its schema is not up to date: run `abstractruntime migrate`.",
    "42703": "Its schema is not up to date: run `abstractruntime migrate`.",
    "42501": "Nothing was written; grant this role access to the tables of abstractruntime.",
}


class PostgresSession:
    """Statements on one psycopg connection."""

    __slots__ = ("connection", "dialect")

    def __init__(self, connection: DriverConnection, dialect: PostgresDialect) -> None:
        self.connection = connection
        self.dialect = dialect

    def execute(self, statement: Statement, params: Parameters = {}, /) -> Cursor:  # noqa: B006
        return self.connection.execute(statement.postgresql, params)


class PostgresDialect:
    """See `driver.Dialect`.

    Args:
        url: with drivername ``postgresql+psycopg``; its query takes libpq's options.
        prepared_statements: False for a pooler in transaction mode that does not carry them over.
    """

    name = "postgresql"
    serial_writes = False

    def __init__(self, url: URL, *, prepared_statements: bool = True) -> None:
        try:
            import psycopg
        except ImportError as exc:
            raise ConfigurationError(
                "PostgreSQL needs psycopg 3; install it with: pip install 'abstractruntime[fleet]'"
            ) from exc
        self._psycopg = psycopg
        self._idle = psycopg.pq.TransactionStatus.IDLE
        self.errors: type[Exception] = psycopg.Error
        self.integrity_error: type[Exception] = psycopg.IntegrityError
        self.address = f"PostgreSQL at {hide_password(url)}"
        self._secrets = _secrets(url)
        _, options = url.get_dialect()().create_connect_args(url)
        self._options: dict[str, Any] = {**_CONNECT_DEFAULTS, **options}
        self._prepare_threshold = 5 if prepared_statements else None

    def connect(self) -> PostgresSession:
        try:
            connection = self._psycopg.connect(
                autocommit=True, prepare_threshold=self._prepare_threshold, **self._options
            )
        except self._psycopg.Error as exc:
            raise ServiceUnavailableError(
                f"{self.address} can't be reached: {self._without_secrets(exc)}. Check that the server runs "
                "and that host, port, database, user and password in DATABASE_URL are right."
            ) from None  # the driver's error may quote the connection string
        # psycopg's own type wants literal SQL only; ours comes from `statements.py`.
        return PostgresSession(cast(DriverConnection, connection), self)

    def begin(self, session: Session) -> None:
        session.execute(BEGIN)

    def commit(self, session: Session) -> None:
        ended = cast("psycopg.Cursor[Any]", session.execute(COMMIT))
        if ended.statusmessage == "ROLLBACK":  # PostgreSQL's answer to a COMMIT after a failed statement
            raise ServiceUnavailableError(
                f"{self.address}: a statement of this transaction had failed, so nothing of it was written. "
                "Look for that failure in the log, and retry."
            )

    def is_lost(self, session: PooledSession) -> bool:
        return cast("psycopg.Connection[Any]", session.connection).closed

    def ends_connection(self, error: Exception) -> bool:
        if not isinstance(error, self._psycopg.OperationalError):
            return False
        # Without a code the error is the client's own: the socket was closed under it.
        code = error.sqlstate
        return code is None or code.startswith("08") or code in _SHUTDOWN

    def is_clean(self, session: PooledSession) -> bool:
        status = cast("psycopg.Connection[Any]", session.connection).pgconn.transaction_status
        return status == self._idle

    def translate(self, error: Exception) -> Exception:
        if not isinstance(error, self._psycopg.Error) or isinstance(error, self._psycopg.IntegrityError):
            return error
        code = error.sqlstate or ""
        if code in _RETRY:
            return ConcurrentUpdateError(
                f"{self.address}: {error}. Nothing was written; read again and retry."
            )
        remedy = _REMEDIES.get(code)
        if remedy is None and (code.startswith("53") or _is_over_quota(error)):
            remedy = "Nothing was written; the server is out of disk, memory or connections."
        if remedy is None and isinstance(error, self._psycopg.OperationalError):
            remedy = (
                "The connection was lost; a write that was under way may or may not have happened. "
                "Read again and retry."
            )
        if remedy is None:
            return error
        return ServiceUnavailableError(f"{self.address}: {self._without_secrets(error)}. {remedy}")

    def _without_secrets(self, error: Exception) -> str:
        text = " ".join(str(error).split()).rstrip(".")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _is_over_quota(error: Exception) -> bool:
    """PostgreSQL has no code for a disk quota or a limit of file sizes, as it has for a full disk."""
    return "could not extend file" in str(error)


def _secrets(url: URL) -> list[str]:
    found = [url.password, url.query.get("password"), url.query.get("sslpassword")]
    return [secret for secret in found if isinstance(secret, str) and secret]


def hide_password(url: URL) -> str:
    """The URL without user's secrets, also those in the query."""
    shown = url.set(drivername="postgresql").difference_update_query(["password", "sslpassword"])
    return shown.render_as_string(hide_password=True)
