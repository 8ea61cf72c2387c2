"""The webhook on a real TCP port: who may deliver, what is a delivery, and that nothing of a bad one is taken."""

import asyncio
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import aiohttp
import pytest

from offloader.daemon.api.gate import Gate
from offloader.daemon.api.public import public_app
from offloader.daemon.api.server import Server
from offloader.errors import JournalError

TOKEN = "s3cret-token"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "HeadIsSlow", "node": "head", "severity": "none"},
    "annotations": {"summary": "rm -rf / $(reboot)"},
    "startsAt": "2024-05-06T07:08:09.123456789+02:00",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus:9090/graph?g0.expr=x",
    "fingerprint": "1a30ba71cca2921f",
}
DELIVERY = {
    "version": "4",
    "groupKey": '{}:{alertname="HeadIsSlow"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "grid-offloader",
    "groupLabels": {},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "alerts": [ALERT],
}


class FakeWebhook:
    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.refusals: list[str] = []
        self.failure: Exception | None = None

    def receive(self, notification):
        if self.failure:
            raise self.failure
        self.taken.append(notification)
        return {"new": len(notification.alerts)}

    def refused(self, why):
        self.refusals.append(why)


class Endpoint:
    def __init__(self, port: int, webhook: FakeWebhook) -> None:
        self.port = port
        self.webhook = webhook
        self.url = f"http://127.0.0.1:{port}/api/v1/alerts"

    async def post(self, body: bytes | dict[str, Any], **headers: str) -> tuple[int, dict[str, Any], Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers}
        async with aiohttp.ClientSession() as session, session.post(self.url, data=data, headers=given) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers


async def serve(token: str | None) -> tuple[Server, Endpoint]:
    webhook, server = FakeWebhook(), Server()
    app = public_app(None, webhook=webhook, metrics=lambda: b"", ready=lambda: None, gate=Gate(token))
    return server, Endpoint(await server.listen_tcp(app, "127.0.0.1", 0), webhook)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    server, one = await serve(TOKEN)
    yield one
    await server.close()


def changed(**changes: Any) -> dict[str, Any]:
    return {**DELIVERY, "alerts": [{**ALERT, **changes}]}


async def test_what_alertmanager_sends_is_taken_with_what_rules_may_know_of_it(endpoint: Endpoint) -> None:
    assert (await endpoint.post(DELIVERY))[:2] == (200, {"new": 1})
    [notification] = endpoint.webhook.taken
    [alert] = notification.alerts
    assert (alert.name, alert.node, alert.fingerprint, alert.firing) == ("HeadIsSlow", "head", "1a30ba71cca2921f", True)
    assert alert.starts_t == pytest.approx(1714972089.123456)
    assert "reboot" not in repr(notification)


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "", "Basic czNjcmV0LXRva2Vu", TOKEN, f"Bearer {TOKEN}x", "Bearer s3cret"]
)
async def test_a_missing_or_wrong_token_is_401_and_nothing_happens(endpoint: Endpoint, header: str) -> None:
    status, answer, headers = await endpoint.post(DELIVERY, Authorization=header)
    assert (status, answer["error"]["code"]) == (401, "not_authenticated")
    assert headers["WWW-Authenticate"] == "Bearer"
    assert (endpoint.webhook.taken, endpoint.webhook.refusals) == ([], ["unauthorized"])
    assert TOKEN not in json.dumps(answer)


async def test_the_token_is_asked_for_before_the_body_is_looked_at(endpoint: Endpoint) -> None:
    assert (await endpoint.post(b"{", Authorization="Bearer wrong"))[0] == 401
    assert (await endpoint.post(b"x" * 400_000, Authorization="Bearer wrong"))[0] == 401


async def test_without_a_configured_token_it_is_closed() -> None:
    server, endpoint = await serve(None)
    try:
        status, answer, _ = await endpoint.post(DELIVERY)
        assert (status, answer["error"]["code"], endpoint.webhook.taken) == (403, "not_permitted", [])
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "version"),
        (b"[]", "JSON object"),
        (json.dumps(DELIVERY).encode()[:-20], "no JSON document"),
        ({**DELIVERY, "version": "3"}, "version"),
        ({**DELIVERY, "version": 4}, "version"),
        ({**DELIVERY, "alerts": None}, "alerts must be a list"),
        ({**DELIVERY, "alerts": [ALERT, 1]}, "alerts[1]"),
        ({**DELIVERY, "truncatedAlerts": "many"}, "truncatedAlerts"),
        ({**DELIVERY, "truncatedAlerts": -1}, "truncatedAlerts"),
        (changed(status="maybe"), "status"),
        (changed(labels={}), "alertname"),
        (changed(labels={"alertname": 1}), "alertname"),
        (changed(labels={"alertname": "HeadIsSlow", "node": ["head"]}), "labels.node"),
        (changed(labels=[]), "labels"),
        (changed(startsAt="yesterday"), "startsAt"),
        (changed(startsAt="2024-05-06T07:08:09"), "startsAt"),
        (changed(startsAt=1714972089), "startsAt"),
        (changed(fingerprint=""), "fingerprint"),
        (changed(fingerprint="a\nb"), "fingerprint"),
        (changed(fingerprint="x" * 300), "fingerprint"),
    ],
)
async def test_what_is_no_delivery_is_refused_as_a_whole(endpoint: Endpoint, body: Any, word: str) -> None:
    status, answer, _ = await endpoint.post(body)
    assert (status, answer["error"]["code"]) == (400, "usage")
    assert word in answer["error"]["message"]
    assert (endpoint.webhook.taken, endpoint.webhook.refusals) == ([], ["malformed"])


async def test_a_hundred_bad_alerts_do_not_make_a_hundred_lines(endpoint: Endpoint) -> None:
    _, answer, _ = await endpoint.post({**DELIVERY, "alerts": [{}] * 100})
    assert answer["error"]["message"].count("\n") == 10


async def test_alerts_that_were_left_out_are_counted_and_the_rest_is_taken(endpoint: Endpoint) -> None:
    assert (await endpoint.post({**DELIVERY, "truncatedAlerts": 7}))[0] == 200
    [notification] = endpoint.webhook.taken
    assert (len(notification.alerts), notification.truncated) == (1, 7)


async def test_keys_of_later_versions_are_passed_over(endpoint: Endpoint) -> None:
    later = deepcopy(DELIVERY)
    later["reason"] = later["alerts"][0]["silenceURL"] = "new"
    assert (await endpoint.post(later))[0] == 200


async def test_a_body_that_is_too_large_is_refused(endpoint: Endpoint) -> None:
    status, answer, _ = await endpoint.post({**DELIVERY, "externalURL": "x" * 400_000})
    assert (status, answer["error"]["code"], endpoint.webhook.taken) == (413, "usage", [])


async def test_a_connection_that_breaks_in_the_middle_delivers_nothing(endpoint: Endpoint) -> None:
    body = json.dumps(DELIVERY).encode()
    headers = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}"
    head = f"POST /api/v1/alerts HTTP/1.1\r\n{headers}\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(head.encode() + body[: len(body) // 2])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await endpoint.post(changed(fingerprint="whole")))[0] == 200
    assert [one.alerts[0].fingerprint for one in endpoint.webhook.taken] == ["whole"]


async def test_what_cannot_be_remembered_is_to_be_sent_again(endpoint: Endpoint) -> None:
    """Alertmanager tries again after 5xx, and only then."""
    endpoint.webhook.failure = JournalError("disk full")
    status, answer, _ = await endpoint.post(DELIVERY)
    assert (status, answer["error"]["code"]) == (507, "journal")
