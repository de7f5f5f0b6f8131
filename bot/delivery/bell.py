"""Waking a worker. The bell carries nothing and may be lost: the sweep rings again within seconds for whatever is due.

Rung far more often than answered (once per reply, once per planned chunk), so ``SET NX EX`` lets one job through at a time; the job takes
the mark away when it begins to look, and whoever comes after that rings a new one.
"""

from __future__ import annotations

import logging
import threading
import time

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue

from bot.deployment import Deployment

log = logging.getLogger(__name__)

QUEUE = "chorus"
JOB = "bot.delivery.jobs.serve"
MARK = "chorus:bell"
MARK_SECONDS = 15
# The webhook rings too: a Redis that does not answer may cost it this much, and after a failure nothing for a while.
WAIT_SECONDS = 0.3
REST_SECONDS = 2.0
JOB_SECONDS = 120


class Bell:
    """One process's connection to the bell at ``url``."""

    def __init__(self, url: str) -> None:
        self.redis: Redis = Redis.from_url(
            url, socket_connect_timeout=WAIT_SECONDS, socket_timeout=WAIT_SECONDS, retry=Retry(NoBackoff(), 0), health_check_interval=30
        )
        self._queue = Queue(QUEUE, connection=self.redis)
        self._silent_until = 0.0
        self._is_down = False

    def ring(self) -> bool:
        """Wake a worker. False when Redis can not be reached; never raises."""
        if time.monotonic() < self._silent_until:
            return False
        try:
            if self.redis.set(MARK, "1", nx=True, ex=MARK_SECONDS):
                self._queue.enqueue(JOB, job_timeout=JOB_SECONDS, result_ttl=0, failure_ttl=3600, ttl=JOB_SECONDS)
        except (RedisError, OSError) as error:
            self._silent_until = time.monotonic() + REST_SECONDS
            if not self._is_down:
                self._is_down = True
                log.warning("the bell does not reach Redis (%s); messages wait in the database", type(error).__name__)
            return False
        if self._is_down:
            self._is_down = False
            log.info("the bell reaches Redis again")
        return True

    def answer(self) -> None:
        """A worker heard it and begins to look: whoever rings from now on is heard again."""
        try:
            self.redis.delete(MARK)
        except (RedisError, OSError) as error:
            # The mark goes by itself after MARK_SECONDS, and the sweep rings on.
            log.warning("the bell's mark stays (%s)", type(error).__name__)


_bells: dict[str, Bell] = {}
_making = threading.Lock()


def bell_of(deployment: Deployment) -> Bell:
    """This process's bell for the deployment's Redis."""
    url = deployment.settings.redis_url
    with _making:
        if url not in _bells:
            _bells[url] = Bell(url)
        return _bells[url]


def ring(deployment: Deployment) -> bool:
    """Wake a worker after a commit that left something to send. False when Redis can not be reached; never raises."""
    return bell_of(deployment).ring()
