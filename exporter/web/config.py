"""The web configuration file, in the format of Prometheus' exporter-toolkit (its docs/web-configuration.md).

Text → frozen settings; all problems at once, with their lines. What Python's TLS cannot do is a problem too: nothing
that was asked for is left out silently. Messages show names of the file, never its values: those are secrets.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.web import tls_section
from exporter.web.answers import Headers
from exporter.web.tls_section import PemReader, TlsSettings
from exporter.web.watched import Watched
from exporter.web.yaml_sections import Problems, Section, top_section

_KEYS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")

_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""Those that may be set, and to what; () for anything."""

_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")
_LEAST_COST, _MOST_COST = 4, 13  # half a second; a guess at more would keep whoever comes next waiting too long
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class WebConfigError(Exception):
    """The file cannot be used. `problems`: one line each, beginning with the file and, where it has one, the line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A request each `interval` seconds on average, `burst` at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file. `users`: name → bcrypt hash. `warnings`: what works and is not wise."""

    tls: TlsSettings | None
    headers: Headers
    users: Mapping[bytes, bytes] = field(repr=False)
    rate_limit: RateLimit | None
    warnings: tuple[str, ...]


def read(path: Path, files: Watched) -> WebConfig:
    """Reads the file and those that it names. Raises WebConfigError."""
    try:
        text = files.read(path).decode()
    except OSError as error:
        raise WebConfigError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise WebConfigError([f"{path}: not UTF-8: {error.reason} at byte {error.start}"]) from error
    try:
        return _understood(path, text, files)
    except (ValueError, OverflowError, RecursionError) as error:  # numbers, escapes and depths that Python refuses
        raise WebConfigError([f"{path}: cannot be understood ({type(error).__name__})"]) from error


def _understood(path: Path, text: str, files: Watched) -> WebConfig:
    problems = Problems(path)
    top = top_section(text, _KEYS, problems)
    pem = PemReader(path, files)
    tls = tls_section.read_tls(top.section("tls_server_config", tls_section.KEYS), pem)
    http = top.section("http_server_config", ("http2", "headers"))
    http.flag("http2", default=True)  # checked only: HTTP/1.1 is what there is, and every client takes it
    headers = _headers(http)
    users = _users(top)
    rate_limit = _rate_limit(top.section("rate_limit", ("interval", "burst")))
    if problems.lines:
        raise WebConfigError(problems.lines)
    warnings = [f"{path}: basic_auth_users without TLS: passwords travel in the clear"] if users and not tls else []
    return WebConfig(tls, headers, users, rate_limit, (*pem.warnings, *warnings))


def _users(top: Section) -> dict[bytes, bytes]:
    users = {}
    for user, hashed, line in top.free("basic_auth_users"):
        match = _BCRYPT.fullmatch(hashed)
        problem = None
        if ":" in user:
            problem = "a name with a colon cannot be sent (RFC 7617)"
        elif match is None:
            problem = 'no bcrypt hash (htpasswd -nBC 10 "" makes one)'
        elif not _LEAST_COST <= int(match[1]) <= _MOST_COST:
            problem = f"cost {match[1]}: {_LEAST_COST} to {_MOST_COST} are possible, 10 to 12 usual"
        if problem is not None:
            top.wrong(line, f"basic_auth_users: {user}: {problem}")
        users[user.encode()] = hashed.encode()
    return users


def _headers(section: Section) -> Headers:
    headers = []
    for name, value, line in section.free("headers"):
        values = _HEADERS.get(name)
        if values is None:
            section.wrong(line, f"headers: {name} cannot be set (there are {', '.join(_HEADERS)})")
        elif values and value not in values:
            section.wrong(line, f"headers: {name} can be {' or '.join(values)}")
        elif value and _HEADER_VALUE.fullmatch(value) is None:
            section.wrong(line, f"headers: {name} must be one line of ASCII")
        elif value:  # unset if blank
            headers.append((name.encode(), value.encode()))
    return tuple(headers)


def _rate_limit(section: Section) -> RateLimit | None:
    interval, burst = section.text("interval"), section.number("burst")
    if not interval or interval == "0":
        return None
    if _DURATION.fullmatch(interval) is None:
        section.problem("interval", "is no time with its unit, as 1s or 500ms")
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(interval))
    if seconds and burst < 1:
        section.problem("burst", "must be at least 1: else nothing is ever answered")
    return RateLimit(seconds, burst) if seconds else None
