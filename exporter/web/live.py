"""What the web configuration file adds to the server, kept up to date with the files while it runs."""

import logging
import ssl
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

from exporter.web.answers import Asked, Client, Headers, text
from exporter.web.basic_auth import BasicAuth
from exporter.web.config import RateLimit, WebConfig, WebConfigError, read
from exporter.web.seldom import Seldom
from exporter.web.tls import TlsStream
from exporter.web.tls_context import TlsError, allowed, make_context
from exporter.web.tls_section import ClientPolicy
from exporter.web.watched import Watched

_TOO_MANY = text(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.")

log = logging.getLogger(__name__)


class LiveWeb:
    """TLS, passwords, headers and the rate limit of one web configuration file.

    The files are looked at with every connection and every request; a changed one counts at once. One that cannot be
    used changes nothing: what was in force stays, and the log says why. Nor does one that lets everybody in: it may be
    half of one that is being written.

    Raises WebConfigError when the file cannot be used in the first place.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._files = Watched()
        self._take_over(*self._load())
        self._auth = BasicAuth()
        self._failed_handshakes = Seldom(log)
        self._tried_again = Seldom(log)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Of connections that come now; None: plain HTTP."""
        return self._context

    @property
    def headers(self) -> Headers:
        """For every answer."""
        return self._config.headers

    def stream(self) -> TlsStream | None:
        """For a connection that comes now."""
        self._refresh()
        if self._context is None or self._config.tls is None:
            return None
        return TlsStream(self._context, partial(allowed, sans=self._config.tls.allowed_sans))

    def admit(self, client: Client, request: Asked, enter: Callable[[], None]) -> None:
        """Calls `enter`, at once or later, or has the client told to go away."""
        self._refresh()
        if self._bucket is not None and not self._bucket.take(self._clock()):
            client.reply(_TOO_MANY)
        elif self._config.users:
            self._auth.admit(self._config.users, request.authorization, client, enter)
        else:
            enter()

    def no_tls(self, address: str, error: ssl.SSLError) -> None:
        """Logs, now and then, a handshake that failed."""
        why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
        self._failed_handshakes.warning("no TLS with %s: %s", address, why)

    def close(self) -> None:
        """Ends what runs for it."""
        self._auth.close()

    def _refresh(self) -> None:
        if not self._files.changed():
            return
        try:
            config, context = self._load()
        except WebConfigError as error:
            tell = self._tried_again.warning if self._files.changed() else log.error
            for problem in error.problems:
                tell("the web configuration in force stays: %s", problem)
            return
        if missing := _opened(self._config, config):
            log.error("the web configuration in force stays: %s cannot come or go while the exporter runs", missing)
            return
        self._take_over(config, context)
        log.info("the web configuration has changed and is in force: %s", self._path)

    def _load(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        before, self._files = self._files, Watched()
        config = read(self._path, self._files)
        if config.tls is None:
            return config, None
        try:
            return config, make_context(config.tls)
        except (TlsError, ValueError) as error:
            raise WebConfigError([f"{self._path}:{config.tls.line}: tls_server_config: {error}"]) from error
        except OSError as error:
            self._files = before  # no file changes when it passes: to be tried again
            raise WebConfigError([f"{self._path}: tls_server_config: {error.strerror}"]) from error

    def _take_over(self, config: WebConfig, context: ssl.SSLContext | None) -> None:
        self._config, self._context = config, context
        self._bucket = None if config.rate_limit is None else Bucket(config.rate_limit)
        for warning in config.warnings:
            log.warning("%s", warning)


def _opened(old: WebConfig, new: WebConfig) -> str | None:
    """What a running exporter does not let go, and the new configuration has not."""
    if (old.tls is None) != (new.tls is None):
        return "TLS"
    if old.users and not new.users:
        return "basic_auth_users"
    if old.tls is None or new.tls is None:
        return None
    if old.tls.policy is ClientPolicy.REQUIRED and new.tls.policy is not ClientPolicy.REQUIRED:
        return "client_auth_type"
    if old.tls.allowed_sans is not None and new.tls.allowed_sans is None:
        return "client_allowed_sans"
    return None


class Bucket:
    """Counts requests against a rate limit: a token bucket, full in the beginning."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more request is within the limit. `now`: monotonic seconds."""
        if self._at is not None:
            self._tokens = min(self._limit.burst, self._tokens + (now - self._at) / self._limit.interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
