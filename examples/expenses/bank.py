"""The bank of the example: tells that claims were paid, with nothing but Redis PUBLISH.

    python bank.py CLAIM_ID...      needs REDIS_URL

It does not know the runtime. Whoever can PUBLISH can wake a run: the channel ends in the key the run waits
for, the message is JSON. A resumer writes it to the inbox, so it may also come before the run waits.
"""

from __future__ import annotations

import json
import os
import sys
from time import sleep

from redis import Redis

PAUSE_S = 0.01


def main(claim_ids: list[str]) -> None:
    """Confirm the payment of each claim."""
    redis = Redis.from_url(os.environ["REDIS_URL"])
    for claim_id in claim_ids:
        channel = f"abstractruntime:event:payment:{claim_id}"
        # With an id of ours the event counts once, however often it is sent and whoever hears it.
        message = json.dumps({"event_id": f"transfer-{claim_id}", "payload": {"transfer": f"T-{claim_id}"}})
        # PUBLISH tells how many listened. Nobody: say it again.
        while redis.publish(channel, message) == 0:
            sleep(0.2)
        sleep(PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1:])
