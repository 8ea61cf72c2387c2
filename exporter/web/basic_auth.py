"""Basic authentication (RFC 7617) against bcrypt hashes, cheap when it succeeds and bounded when it does not."""

import binascii
import hashlib
import ipaddress
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus

import bcrypt

from exporter.web.answers import Client, text
from exporter.web.seldom import Seldom
from exporter.web.shared_work import SharedWork

_REMEMBERED = 256
_MOST_WAITING = 16
_MOST_WAITING_PER_HOST = 2  # while less than half of the places are taken; then 1, which keeps some for newcomers
_MOST_SHARING = 4  # a check; who waits for one holds a connection that cannot make room for others
_REST = 4  # after a guess the thread rests as many times as long as it worked: a fifth of one core at most
_BCRYPT_BYTES = 72  # what bcrypt looks at, in htpasswd and Go too

_UNAUTHORISED = text(
    HTTPStatus.UNAUTHORIZED,
    "Unauthorized.",
    (b"WWW-Authenticate", b'Basic realm="grid-exporter", charset="UTF-8"'),
)
_TOO_MANY = text(HTTPStatus.TOO_MANY_REQUESTS, "Too many passwords are being checked.", (b"Retry-After", b"1"))

log = logging.getLogger(__name__)


class BasicAuth:
    """Checks passwords in a thread of its own, one at a time, and remembers the results.

    Results are kept under a keyed digest of user, hash and password, so that a changed hash counts at once. An unknown
    user costs the same check as a known one. Who waits is bounded, for each host and each password too: somebody who
    guesses does not keep others out.
    """

    def __init__(self) -> None:
        self._salt = os.urandom(32)
        self._good: dict[bytes, None] = {}
        self._bad: dict[bytes, None] = {}
        self._checks: SharedWork[bytes, bool] = SharedWork("password check", failed=False, learned=self._learn)
        self._waiting: dict[bytes, str] = {}  # digest → host that asked first
        self._refused = Seldom(log)

    def admit(
        self, users: Mapping[bytes, bytes], authorization: bytes, client: Client, enter: Callable[[], None]
    ) -> None:
        """Calls `enter`, at once or later, or has the client told to go away. `users`: name → bcrypt hash."""
        if (given := _credentials(authorization)) is None:
            client.reply(_UNAUTHORISED)
            return
        user, password = given
        hashed = users.get(user) or _nobodys_hash(users)
        digest = self._digest(user, hashed, password)
        if digest in self._good:
            enter()
        elif digest in self._bad:
            self._refuse(client)
        elif not self._has_room(digest, client.address):
            client.reply(_TOO_MANY)
        else:
            work = partial(_check, password, hashed, known=user in users)
            self._ask(digest, work, client, enter)

    def close(self) -> None:
        """Ends the thread."""
        self._checks.close()

    def _ask(self, digest: bytes, work: Callable[[], bool], client: Client, enter: Callable[[], None]) -> None:
        def done(good: bool) -> None:
            client.withdraw = None
            if good:
                enter()
            else:
                self._refuse(client)

        def withdraw() -> None:
            take_back()
            if not self._checks.asked(digest):
                self._waiting.pop(digest, None)

        self._waiting.setdefault(digest, _host(client.address))
        take_back = self._checks.ask(digest, work, done)
        client.withdraw = withdraw

    def _learn(self, digest: bytes, good: bool) -> None:
        del self._waiting[digest]
        _remember(self._good if good else self._bad, digest)

    def _has_room(self, digest: bytes, address: str) -> bool:
        if self._checks.asked(digest):
            return self._checks.askers(digest) < _MOST_SHARING
        hosts = list(self._waiting.values())
        most = _MOST_WAITING_PER_HOST if len(hosts) < _MOST_WAITING // 2 else 1
        return len(hosts) < _MOST_WAITING and hosts.count(_host(address)) < most

    def _refuse(self, client: Client) -> None:
        self._refused.warning("%s was refused: wrong user or password", client.address)
        client.reply(_UNAUTHORISED)

    def _digest(self, user: bytes, hashed: bytes, password: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._salt, digest_size=32)
        for part in (user, hashed, password):
            digest.update(b"%d:%b" % (len(part), part))
        return digest.digest()


def _host(address: str) -> str:
    """What one host can have: an IPv4 address, or the 2⁶⁴ IPv6 addresses of a network (RFC 7934)."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    return parsed.packed[:8].hex() if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)


def _credentials(authorization: bytes) -> tuple[bytes, bytes] | None:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = binascii.a2b_base64(encoded.strip(), strict_mode=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None


def _nobodys_hash(users: Mapping[bytes, bytes]) -> bytes:
    """A hash that no password has, as costly as that of the first user."""
    return next(iter(users.values()))[:7] + b"." * 53


def _check(password: bytes, hashed: bytes, *, known: bool) -> bool:
    begin = time.thread_time()
    try:
        good = bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:  # a hash whose form is right and whose content is not
        good = False
    if not (good and known):
        time.sleep(_REST * (time.thread_time() - begin))
    return good and known


def _remember(results: dict[bytes, None], digest: bytes) -> None:
    """The newest ones; the good ones apart, so that guesses cannot push them out."""
    while len(results) >= _REMEMBERED:
        del results[next(iter(results))]
    results[digest] = None
