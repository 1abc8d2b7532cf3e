"""``celery`` on a machine whose clock is wrong: all of Python's clocks but the monotonic ones are shifted.

Run as a program, before anything else is imported.
"""

from __future__ import annotations

import datetime
import os
import sys
import time

WRONG_BY = "CRASH_TESTS_CLOCK"
"""Seconds by which the clock is fast."""


def _shift(seconds: float) -> None:
    real_time, real = time.time, datetime.datetime
    delta = datetime.timedelta(seconds=seconds)

    class IsReal(type):
        """The real class makes the values, so they must pass for instances of this one."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Shifted(real, metaclass=IsReal):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.now(tz) + delta

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return real.now(datetime.timezone.utc).replace(tzinfo=None) + delta

        @classmethod
        def today(cls) -> datetime.datetime:
            return cls.now()

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: int((real_time() + seconds) * 1e9)
    datetime.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    _shift(float(os.environ[WRONG_BY]))
    from celery.__main__ import main

    sys.exit(main())
