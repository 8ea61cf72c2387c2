"""Settings → ssl.SSLContext, and who may come in with which certificate."""

import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from exporter.web.tls_section import ClientPolicy, TlsSettings

_VERIFY = {
    ClientPolicy.NONE: ssl.CERT_NONE,
    ClientPolicy.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientPolicy.REQUIRED: ssl.CERT_REQUIRED,
}


class TlsError(Exception):
    """The parts of the settings do not go together, or this OpenSSL lacks what they ask for; says what."""


def make_context(settings: TlsSettings) -> ssl.SSLContext:
    """Raises TlsError, and OSError for what is not the settings' fault: no descriptors, no memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = settings.minimum, settings.maximum
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if settings.server_preference:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # Connections are kept: a resumed session would only pass by the check of the certificate. This is TLS 1.3's; with
    # TLS 1.2 a client may resume, with the certificate that was checked then, until the files change.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if settings.ciphers:
        _set_ciphers(context, settings.ciphers)
    if settings.curve is not None:
        context.set_ecdh_curve(settings.curve)
    _load_pair(context, settings)
    context.verify_mode = _VERIFY[settings.policy]
    if settings.client_ca:
        try:
            context.load_verify_locations(cadata=settings.client_ca.decode("ascii", "ignore"))
        except ssl.SSLError as error:
            raise TlsError(f"client_ca_file has no certificate that can be read ({_reason(error)})") from error
    return context


def allowed(certificate: object, sans: frozenset[str] | None) -> bool:
    """Whether a verified certificate (ssl.SSLSocket.getpeercert's form; none: empty) has one of those names.

    As in exporter-toolkit, a client that may come without a certificate is not asked for a name.
    """
    if sans is None or not isinstance(certificate, dict) or not certificate:
        return True
    return any(
        (_address(value) if kind == "IP Address" else value) in sans
        for kind, value in certificate.get("subjectAltName", ())
    )


def _address(text: str) -> str:
    """In the spelling of RFC 5952, which Go writes too."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(text.strip()))
    return text


def _set_ciphers(context: ssl.SSLContext, ciphers: tuple[str, ...]) -> None:
    with suppress(ssl.SSLError):  # none of them is there: seen below
        context.set_ciphers(":".join(ciphers))
    there = {cipher["name"] for cipher in context.get_ciphers()}
    if missing := [cipher for cipher in ciphers if cipher not in there]:
        raise TlsError(f"cipher_suites: this OpenSSL ({ssl.OPENSSL_VERSION}) has no {', '.join(missing)}")


def _load_pair(context: ssl.SSLContext, settings: TlsSettings) -> None:
    def passphrase() -> bytes:
        raise TlsError("the private key is encrypted; nobody is there to type its passphrase")

    with _as_file(settings.certificate) as certificate, _as_file(settings.key) as key:
        try:
            context.load_cert_chain(certificate, key, passphrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsError("the private key is not that of the certificate") from error
            raise TlsError(f"certificate or private key cannot be read ({_reason(error)})") from error


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path in memory: Python's ssl takes keys only from files, and the two must be read at one moment."""
    descriptor = os.memfd_create("pem")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _reason(error: ssl.SSLError) -> str:
    return str(error.reason or error).lower().replace("_", " ")
