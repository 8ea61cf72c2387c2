"""Passwords: who gets in, what a check costs, and what guessing can do to the node and to others."""

import asyncio
import base64
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

import bcrypt
import pytest
import raw_http

from exporter.web import basic_auth
from exporter.web.live import LiveWeb


def hashed(password, prefix=b"2b"):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix)).decode()


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def get(path="/metrics", authorization=None):
    lines = [f"GET {path} HTTP/1.1", "Host: node", *([f"Authorization: {authorization}"] if authorization else [])]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def config(tmp_path):
    """Writes the users of a web configuration file, which it is."""

    def write(**users):
        (tmp_path / "web.yml").write_text(
            "".join(["basic_auth_users:\n", *(f"  {u}: {h}\n" for u, h in users.items())])
        )
        return tmp_path / "web.yml"

    return write


@pytest.fixture
def checks(monkeypatch):
    """What bcrypt was asked to check. `checks.held` is how many run now, while `checks.gate` is shut."""

    class Checks(list):
        def __init__(self):
            super().__init__()
            self.gate = threading.Event()
            self.gate.set()
            self.running = self.most = 0

        def __call__(self, password, against):
            self.append((password, against))
            self.running += 1
            self.most = max(self.most, self.running)
            self.gate.wait(10)
            self.running -= 1
            return real(password, against)

    real, recorded = bcrypt.checkpw, Checks()
    monkeypatch.setattr(basic_auth.bcrypt, "checkpw", recorded)
    yield recorded
    recorded.gate.set()


async def ask(server, authorization=None, path="/metrics"):
    """The status of a request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(get(path, authorization))
    status = int((await asyncio.wait_for(reader.readline(), 20)).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


def test_the_exporter_asks_for_a_password(start_exporter, proc, config):
    """On every page, health too, as Prometheus' own exporters do; one connection may try again."""
    file = config(prometheus=hashed("right"), other=hashed("pass:wörd", b"2a"))
    exporter = start_exporter(f"--procfs={proc}", "--collectors=load", f"--web.config.file={file}")
    url = urlsplit(exporter.url)
    with raw_http.connect((url.hostname, url.port)) as connection:

        def status(*request):
            connection.sendall(get(*request))
            response = raw_http.read_response(connection)
            assert (response.status == 401) == (response.headers.get("www-authenticate", "")[:5] == "Basic")
            assert (b"grid_node_load1" in response.body) == (request[0] == "/metrics" and response.status == 200)
            return response.status

        for path, found in [("/metrics", 200), ("/-/healthy", 200), ("/", 200), ("/nothing", 404)]:
            assert status(path) == 401
            assert status(path, basic("prometheus", "right")) == found
        assert status("/metrics", basic("other", "pass:wörd")) == 200
        for wrong in [
            basic("prometheus", "wrong"),
            basic("prometheus", ""),
            basic("prometheus", "right\0"),
            basic("other", "right"),
            basic("nobody", "right"),
            basic("", ""),
            basic("prometheus", "right") + "!",
            "Basic " + base64.b64encode(b"prometheus").decode(),
            "Basic",
            "Bearer right",
            basic("prometheus", "right").replace("Basic", "Digest"),
        ]:
            assert status("/metrics", wrong) == 401
        assert status("/metrics", basic("prometheus", "right").replace("Basic ", "bAsIc   ")) == 200


async def test_a_password_is_checked_once(config, serving, checks):
    """The right one, and a wrong one that is sent again and again; a new hash of it is checked anew, at once."""
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        for _ in range(3):
            assert await ask(server, basic("a", "right")) == 200
            assert await ask(server, basic("a", "wrong")) == 401
        assert [password for password, _ in checks] == [b"right", b"wrong"]
        config(a=hashed("changed"))
        assert await ask(server, basic("a", "right")) == 401
        assert await ask(server, basic("a", "changed")) == 200
        config(b=hashed("changed"))
        assert await ask(server, basic("a", "changed")) == 401


async def test_one_check_for_all_who_send_the_same(config, serving, checks):
    """Prometheus in four copies, starting at once, is one check; more may come when it is done."""
    checks.gate.clear()
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        asking = [asyncio.create_task(ask(server, basic("a", "right"))) for _ in range(4)]
        while len(server._open) < 4 or server._waiting:
            await asyncio.sleep(0.01)
        assert await ask(server, basic("a", "right")) == 429
        checks.gate.set()
        assert await asyncio.gather(*asking) == [200] * 4
        assert await ask(server, basic("a", "right")) == 200
    assert len(checks) == 1


async def test_an_unknown_user_costs_as_much_as_a_known_one(config, serving, checks):
    """The time of the answer does not tell which users there are; and nobody's hash lets nobody in."""
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        assert await ask(server, basic("nobody", "right")) == 401
    ((password, against),) = checks
    assert password == b"right"
    assert against.startswith(b"$2b$04$")
    assert len(against) == 60


async def test_guessing_takes_little_and_keeps_nobody_out(config, serving, checks):
    """One check at a time, few waiting, the rest told to come later; who was let in before does not notice."""
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        assert await ask(server, basic("a", "right")) == 200
        checks.gate.clear()
        guesses = [asyncio.create_task(ask(server, basic("a", f"guess {number}"))) for number in range(100)]
        await asyncio.wait(guesses, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert await ask(server, basic("a", "right")) == 200
        checks.gate.set()
        statuses = await asyncio.gather(*guesses)
    assert statuses.count(401) == 2
    assert statuses.count(429) == 98
    assert checks.most == 1


class Guesser:
    """A client at that address; `statuses` of its answers, 200 for being let in."""

    def __init__(self, auth, address):
        self.auth, self.address = auth, address
        self.withdraw = None
        self.statuses = []

    def try_(self, password):
        users = {b"a": hashed("right").encode()}
        authorization = basic("a", password).encode()
        self.auth.admit(users, authorization, self, lambda: self.statuses.append(200))

    def reply(self, answer):
        self.statuses.append(int(answer.status))


@pytest.fixture
def auth(checks):
    """Whose checks do not end before the test does."""
    checks.gate.clear()
    made = basic_auth.BasicAuth()
    yield made
    made.close()


async def test_eleven_addresses_that_guess_leave_room(auth):
    """However many guesses each of them has; when all places are taken who comes is told to come later."""
    for number in range(11):
        guesser = Guesser(auth, f"192.0.2.{number}")
        for guess in range(3):
            guesser.try_(f"{number} {guess}")
    prometheus, late = Guesser(auth, "198.51.100.1"), Guesser(auth, "198.51.100.2")
    prometheus.try_("right")
    late.try_("late")
    assert (prometheus.statuses, late.statuses) == ([], [429])


async def test_one_host_with_many_ipv6_addresses_has_the_places_of_one(auth):
    """Its network is counted, not its addresses; IPv4 that comes by IPv6 is IPv4."""
    guessers = [Guesser(auth, f"2001:db8::{number:x}") for number in range(20)]
    for guesser in guessers:
        guesser.try_(guesser.address)
    assert [guesser.statuses for guesser in guessers] == [[], []] + [[429]] * 18
    addresses = ["2001:db8:0:1::1", "::ffff:192.0.2.1", "::ffff:192.0.2.2", "fe80::1%lo"]
    others = [Guesser(auth, address) for address in addresses]
    for other in others:
        other.try_(other.address)
    assert [other.statuses for other in others] == [[]] * 4


async def test_a_guess_sent_many_times_holds_few_connections(config, serving, checks):
    """Those that wait for a check cannot make room: the same wrong password on each must not take all places."""
    checks.gate.clear()
    async with serving(web=LiveWeb(config(a=hashed("right"))), connections=8, patience_seconds=0.0) as server:
        guesses = []
        for _ in range(12):
            _, writer = await asyncio.open_connection(*server.address)
            writer.write(get("/metrics", basic("a", "wrong")))
            guesses.append(writer)
        assert await asyncio.wait_for(ask(server), 10) == 401
        checks.gate.set()
        for writer in guesses:
            writer.transport.abort()


async def test_a_client_that_leaves_during_its_check_leaves_no_place_taken(config, serving, checks):
    """Nor is the check lost: its result is remembered."""
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        for number in range(2):  # as many as an address has places
            checks.gate.clear()
            _, gone = await asyncio.open_connection(*server.address)
            gone.write(get("/metrics", basic("a", f"gone {number}")))
            while len(checks) <= number:
                await asyncio.sleep(0.01)
            gone.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.transport.abort()
            while server._open:
                await asyncio.sleep(0.01)
            checks.gate.set()
        async with asyncio.timeout(10):
            while (status := await ask(server, basic("a", "right"))) != 200:
                assert status == 429
        assert [await ask(server, basic("a", f"gone {number}")) for number in range(2)] == [401, 401]
    assert [password for password, _ in checks] == [b"gone 0", b"gone 1", b"right"]


async def test_a_guess_that_is_not_waited_for_is_not_made(config, serving, checks):
    """Its place is free again."""
    checks.gate.clear()
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        first = asyncio.create_task(ask(server, basic("a", "first")))
        while not checks:
            await asyncio.sleep(0.01)
        _, gone = await asyncio.open_connection(*server.address)
        gone.write(get("/metrics", basic("a", "gone")))
        while len(server._open) < 2 or server._waiting:
            await asyncio.sleep(0.01)
        gone.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.transport.abort()
        while len(server._open) > 1:
            await asyncio.sleep(0.01)
        right = asyncio.create_task(ask(server, basic("a", "right")))
        while len(server._open) < 2 or server._waiting:
            await asyncio.sleep(0.01)
        checks.gate.set()
        assert (await first, await right) == (401, 200)
    assert [password for password, _ in checks] == [b"first", b"right"]


def test_a_wrong_guess_is_followed_by_a_rest(monkeypatch):
    """Four times as long as it took, however long that was: a fifth of a core."""
    rests, spent = [], iter([10.0, 10.1, 20.0, 29.0, 30.0, 30.5])
    monkeypatch.setattr(time, "sleep", rests.append)
    monkeypatch.setattr(time, "thread_time", lambda: next(spent))
    right = hashed("right").encode()
    assert not basic_auth._check(b"wrong", right, known=True)
    assert not basic_auth._check(b"right", right, known=False)
    assert basic_auth._check(b"right", right, known=True)
    assert rests == [pytest.approx(0.4), 36.0]


def test_long_passwords_count_as_far_as_bcrypt_looks(monkeypatch):
    """72 bytes, as with htpasswd and Prometheus' own exporters; a malformed hash lets nobody in."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    against = hashed("x" * 72).encode()
    assert basic_auth._check(b"x" * 100, against, known=True)
    assert not basic_auth._check(b"x" * 71, against, known=True)
    assert not basic_auth._check(b"x", b"$2b$04$" + b"~" * 53, known=True)


def test_what_is_remembered_is_bounded():
    """The oldest results go first, and nothing of a password is in them."""
    results = {}
    for number in range(1000):
        basic_auth._remember(results, b"%d" % number)
    assert list(results) == [b"%d" % number for number in range(1000 - 256, 1000)]


async def test_the_log_says_that_somebody_was_refused(config, serving, caplog):
    """Once in a while; neither the password nor the name that was tried is in it."""
    async with serving(web=LiveWeb(config(a=hashed("right")))) as server:
        for number in range(3):
            assert await ask(server, basic("hunter", f"hunter{number}")) == 401
    messages = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert messages == ["127.0.0.1 was refused: wrong user or password"]
    assert "hunter" not in caplog.text
