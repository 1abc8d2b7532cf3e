"""A deployment's settings, from environment variables, validated once at start.

``DATABASE_URL`` and ``REDIS_URL`` are read under their usual names; everything else is
``ABSTRACTRUNTIME_<NAME>``. The full table is in ``deploy/ENVIRONMENT.md``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from abstractruntime.core.errors import ConfigurationError
from abstractruntime.retention.durations import parse_duration

__all__ = ["Settings", "load_settings"]

Seconds = Annotated[float, Field(gt=0)]


def _seconds(value: object) -> object:
    """``30d`` and the like as seconds; blank means not set."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    return text if text.replace(".", "", 1).isdecimal() else parse_duration(text).total_seconds()


Age = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_seconds)]
"""Seconds, or text like ``30d``; ``None`` = no limit."""


class Settings(BaseSettings):
    """What workers, beat, resumers, clients and the command line agree on. All durations in seconds."""

    model_config = SettingsConfigDict(env_prefix="ABSTRACTRUNTIME_", extra="ignore", populate_by_name=True)

    app: str | None = Field(default=None, description="module:attribute of the App")
    database_url: str = Field(
        default="sqlite:///.abstractruntime/runs.db",
        validation_alias=AliasChoices("DATABASE_URL", "ABSTRACTRUNTIME_DATABASE_URL", "database_url"),
        description="where runs live: postgresql+psycopg://user:password@host/name, or sqlite:///path",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("REDIS_URL", "ABSTRACTRUNTIME_REDIS_URL", "redis_url"),
        description="signals between processes, and the broker unless broker_url is set",
    )
    broker_url: str | None = Field(default=None, description="a kombu URL; default: redis_url")
    broker_visibility_timeout: Seconds = Field(
        default=900.0,
        description="Redis only: after this long a message for later comes back, if not acknowledged",
    )
    prefix: str = Field(
        default="abstractruntime", pattern=r"^[A-Za-z0-9_.-]+$", description="of queue and channel names"
    )

    tick_max_steps: int = Field(default=1, ge=1, description="StepPlans one tick may take")
    tick_budget_ms: float = Field(default=1000.0, gt=0, description="milliseconds after which a tick ends")
    lease: Seconds = Field(default=30.0, description="an effect's worker is given up after this silence")
    redelivery_grace: Seconds = Field(
        default=10.0, description="a runnable run whose tick seems lost is sent again after this"
    )
    timer_horizon: Seconds = Field(
        default=30.0,
        description="timers due within this are ETA tasks or kept by a worker; later ones wait in SQL",
    )
    eta_limit: int = Field(
        default=100,
        ge=0,
        description="timers within the horizon that one process has as Celery ETA tasks at most",
    )
    timer_limit: int = Field(
        default=20_000, ge=1, description="further timers within the horizon that one process keeps itself"
    )
    queue_limit: int = Field(
        default=2000,
        ge=1,
        description="messages in a queue from which on only the sweep feeds it, as it drains",
    )
    priority_ageing: Seconds = Field(
        default=60.0, description="waiting this long is worth one step of priority, so that nobody starves"
    )
    sweep_interval: Seconds = Field(default=2.0, description="pause between two sweeps")
    sweep_batch: int = Field(default=500, ge=1, description="runs one sweep statement takes")
    event_ttl: Seconds = Field(default=7 * 86400.0, description="how long the inbox keeps an event")
    max_payload_bytes: int = Field(
        default=1_048_576, ge=1024, description="largest vars, payload or event accepted at a door (bytes)"
    )
    max_crashes: int = Field(default=3, ge=1, description="a step that lost its worker this often is stopped")
    publish_timeout: Seconds = Field(
        default=1.0, description="time a caller may lose to a broker that does not answer"
    )
    retention_completed: Age = Field(
        default=None, description="age at which completed runs are removed, like `30d`; unset: never"
    )
    retention_failed: Age = Field(default=None, description="the same for failed runs")
    retention_cancelled: Age = Field(default=None, description="the same for cancelled runs")
    retention_events: Age = Field(
        default=None, description="age at which expired events are removed; a removed one is accepted again"
    )
    retention_commands: Age = Field(
        default=None, description="age at which commands that all consumers have read are removed"
    )
    retention_interval: Seconds = Field(default=300.0, description="pause between two purges")
    retention_limit: int = Field(default=20_000, ge=1, description="runs one purge removes at most")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if url.startswith(("postgres://", "postgresql://")):
            url = "postgresql+psycopg://" + url.split("://", 1)[1]
        if not url.startswith(("postgresql+psycopg://", "sqlite:///")):
            raise ValueError("expected postgresql://... or sqlite:///path")
        return url

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("expected redis://host:port/db, rediss://... or unix://path")
        return url

    @model_validator(mode="after")
    def _timers_fit_the_broker(self) -> Settings:
        # An ETA message older than the visibility timeout would be delivered again, and again.
        if self.timer_horizon * 2 > self.broker_visibility_timeout:
            raise ValueError(
                f"timer_horizon ({self.timer_horizon:g}) must be at most half of broker_visibility_timeout "
                f"({self.broker_visibility_timeout:g})"
            )
        return self

    @property
    def broker(self) -> str:
        """The broker's kombu URL."""
        return self.broker_url or self.redis_url

    @property
    def tick_queue(self) -> str:
        """Queue of ticks and sweeps."""
        return f"{self.prefix}.ticks"

    @property
    def effect_queue(self) -> str:
        """Queue of effects with outside contact."""
        return f"{self.prefix}.effects"

    @property
    def ended_channel(self) -> str:
        """Pub/sub channel prefix on which the end of a run is announced (followed by the run id)."""
        return f"{self.prefix}:ended:"

    @property
    def event_channel(self) -> str:
        """Pub/sub channel prefix of events from anything that can PUBLISH (followed by the wait key)."""
        return f"{self.prefix}:event:"

    @property
    def event_stream(self) -> str:
        """Redis stream of events whose senders need a guarantee."""
        return f"{self.prefix}:events"


def load_settings(**overrides: object) -> Settings:
    """The settings from the environment.

    Raises:
        ConfigurationError: a variable is wrong; the message names each and what is accepted.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks the values
    except ValidationError as exc:
        lines = [f"{_variable(error['loc'])}: {error['msg']}" for error in exc.errors()]
        raise ConfigurationError("Settings can't be used. " + "; ".join(lines)) from exc


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    if name.isupper():
        return name
    return f"ABSTRACTRUNTIME_{name.upper()}"
