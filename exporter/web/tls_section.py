"""The section tls_server_config of the web configuration file."""

import ssl
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from exporter.web.watched import Watched
from exporter.web.yaml_sections import Section

_SWITCHES = ("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type")
"""Any of these asks for TLS."""

KEYS = (
    *_SWITCHES,
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = ("TLS10", "TLS11")
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_CIPHERS_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_CIPHERS_12 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Go's names (crypto/tls, CipherSuites) → OpenSSL's."""


class ClientPolicy(StrEnum):
    """What is asked of clients: those values of client_auth_type that Python's TLS can do."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


_UNVERIFIED_POLICIES = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The section. PEM as bytes; `ciphers` for TLS 1.2, in OpenSSL's words, () for the default."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes
    policy: ClientPolicy
    allowed_sans: frozenset[str] | None
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion
    ciphers: tuple[str, ...]
    server_preference: bool
    curve: str | None
    line: int
    """Where the section begins, for what only shows when its parts are put together."""


class PemReader:
    """PEM of a section, from the web configuration file itself or those that it names.

    Attributes:
        warnings: What works and is not wise.
    """

    def __init__(self, path: Path, files: Watched) -> None:
        self.warnings: list[str] = []
        self._path = path
        self._files = files

    def read(self, section: Section, key: str, kind: str, *, needed: bool = False) -> bytes:
        """What stands under `key`, or in the file that `key`_file names; b"" where there is neither, or a problem."""
        inline, name = section.text(key), section.text(f"{key}_file")
        if inline and name:
            section.problem(key, f"stands beside {key}_file: one of the two")
        if not inline and not name:
            if needed:
                section.problem(f"{key}_file", "is missing")
            return b""
        file = self._path.parent / name if name else self._path
        where = f"{key}_file" if name else key
        try:
            content = self._files.read(file) if name else inline.encode()
            open_to_others = file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        except OSError as error:
            section.problem(where, f"{file}: {error.strerror}")
            return b""
        if f"{kind}-----".encode() not in content:
            section.problem(where, f"there is no {kind} in PEM")
        elif kind == "PRIVATE KEY" and open_to_others:
            self.warnings.append(f"{file}: holds a private key and is open to more than its owner (chmod 600)")
        return content


def read_tls(section: Section, pem: PemReader) -> TlsSettings | None:
    """The settings, None where no TLS is asked for. Problems are noted in the section."""
    if not any(section.text(key) for key in _SWITCHES):
        if section:
            section.wrong(section.line, "tls_server_config: without cert_file and key_file there is no TLS")
        return None
    minimum, maximum = _version(section, "min_version"), _version(section, "max_version")
    ciphers, none_of_12 = _ciphers(section)
    if none_of_12:
        minimum = ssl.TLSVersion.TLSv1_3
    if minimum > maximum:
        section.problem("max_version", "nothing is left between it, min_version and cipher_suites")
    return TlsSettings(
        certificate=pem.read(section, "cert", "CERTIFICATE", needed=True),
        key=pem.read(section, "key", "PRIVATE KEY", needed=True),
        client_ca=pem.read(section, "client_ca", "CERTIFICATE"),
        policy=_policy(section),
        allowed_sans=_allowed_sans(section),
        minimum=minimum,
        maximum=maximum,
        ciphers=ciphers,
        server_preference=section.flag("prefer_server_cipher_suites", default=True),
        curve=_curve(section),
        line=section.line,
    )


def _version(section: Section, key: str) -> ssl.TLSVersion:
    default = "TLS12" if key == "min_version" else "TLS13"
    name = section.text(key) or default
    if name in _OLD_VERSIONS:
        section.problem(key, f"{name} is out of use (RFC 8996) and not offered: TLS12 or TLS13")
    elif name not in _VERSIONS:
        section.problem(key, "unknown version: TLS12 or TLS13")
    return _VERSIONS.get(name, _VERSIONS[default])


def _policy(section: Section) -> ClientPolicy:
    name = section.text("client_auth_type") or ClientPolicy.NONE
    authority = bool(section.text("client_ca") or section.text("client_ca_file"))
    note = partial(section.problem, "client_auth_type")
    if name in _UNVERIFIED_POLICIES:
        note(f"{name} takes certificates unseen, which is not possible here: {ClientPolicy.REQUIRED} looks at them")
    elif name not in set(ClientPolicy):
        note(f"unknown policy (there are {', '.join(ClientPolicy)})")
    elif name != ClientPolicy.NONE and not authority:
        note("whose certificates? client_ca_file is missing")
    elif name == ClientPolicy.NONE and (authority or "client_allowed_sans" in section):
        note(f"is {name}: client_ca_file and client_allowed_sans would have no effect without {ClientPolicy.REQUIRED}")
    return ClientPolicy(name) if name in set(ClientPolicy) else ClientPolicy.NONE


def _allowed_sans(section: Section) -> frozenset[str] | None:
    if "client_allowed_sans" not in section:
        return None
    names = frozenset(section.texts("client_allowed_sans"))
    if not names:
        section.problem("client_allowed_sans", "names nobody")
    return names


def _ciphers(section: Section) -> tuple[tuple[str, ...], bool]:
    """Those for TLS 1.2, and whether the list has none of them. Those of TLS 1.3 are always on, in Go as well."""
    known = {**dict.fromkeys(_CIPHERS_13, ""), **_CIPHERS_12}
    names = section.texts("cipher_suites")
    if unknown := [name for name in names if name not in known]:
        section.problem("cipher_suites", f"unknown: {', '.join(unknown)} (there are {', '.join(known)})")
    ciphers = tuple(known[name] for name in names if known.get(name))
    return ciphers, bool(names) and not ciphers and not unknown


def _curve(section: Section) -> str | None:
    names = section.texts("curve_preferences")
    if unknown := [name for name in names if name not in _CURVES]:
        section.problem("curve_preferences", f"unknown: {', '.join(unknown)} (there are {', '.join(_CURVES)})")
        return None
    if len(names) > 1:
        section.problem("curve_preferences", "this exporter can be held to one curve, or to none: name one")
    return _CURVES[names[0]] if names else None
