"""One authenticated connection, and everything that can go wrong on the way to it, in words that help. Blocking."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from offloader.adapters.ssh.clientconfig import Destination
from offloader.adapters.ssh.knownhosts import KnownHosts, Verdict, fingerprint
from offloader.adapters.ssh.settings import SshSettings
from offloader.adapters.ssh.transport import OrderlyTransport
from offloader.errors import NodeUnreachable

__all__ = ["Connection", "connect"]

# Whatever paramiko logs comes to us as an exception too, and its tracebacks would go to the operator's terminal.
_PARAMIKO_LOG = "offloader.adapters.ssh.paramiko"
logging.getLogger(_PARAMIKO_LOG).setLevel(logging.CRITICAL)

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


class Connection:
    """A transport to the node, with those to the hosts on the way below it."""

    def __init__(self, transports: list[OrderlyTransport]) -> None:
        """Args: transports: nearest first; the last one is the node's."""
        self._transports = transports
        self._closing = threading.Lock()

    @property
    def transport(self) -> OrderlyTransport:
        """The node's."""
        return self._transports[-1]

    @property
    def alive(self) -> bool:
        """Whether it was not lost, as far as is known."""
        return all(transport.is_active() for transport in self._transports)

    def close(self) -> None:
        """End it with everything that runs on it. Never raises."""
        with self._closing:
            for transport in reversed(self._transports):
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    transport.close()


def connect(name: str, destination: Destination, settings: SshSettings) -> Connection:
    """Reach the node, through the hosts on the way.

    Raises:
        NodeUnreachable: at the first thing that fails: what, where, and what would mend it.
    """
    transports: list[OrderlyTransport] = []
    try:
        for hop in (*destination.jumps, destination):
            with _explained(name, hop, settings):
                before = transports[-1] if transports else None
                transport = OrderlyTransport(_socket(hop, before, settings))
                transports.append(transport)
                _greet(name, hop, transport, settings)
                _authenticate(name, hop, transport)
                transport.set_keepalive(max(1, round(settings.keepalive_s)))
    except BaseException:
        Connection(transports).close()
        raise
    return Connection(transports)


def _socket(
    hop: Destination, before: paramiko.Transport | None, settings: SshSettings
) -> socket.socket | paramiko.Channel:
    if before is not None:
        return before.open_channel(
            "direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=settings.connect_timeout_s
        )
    found = socket.create_connection((hop.host, hop.port), timeout=settings.connect_timeout_s)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # tcp(7): unacknowledged for so long closes the connection. Without it a partition goes unnoticed for a quarter
    # of an hour; keepalives make sure that there is something to acknowledge.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.dead_after_s * 1000))
    return found


def _greet(name: str, hop: Destination, transport: paramiko.Transport, settings: SshSettings) -> None:
    """Key exchange, and the check of the server's key before anything is said to it."""
    transport.set_log_channel(_PARAMIKO_LOG)
    transport.banner_timeout = settings.connect_timeout_s
    transport.handshake_timeout = settings.connect_timeout_s
    transport.auth_timeout = settings.connect_timeout_s
    transport.channel_timeout = settings.connect_timeout_s
    known = KnownHosts.read(hop.known_hosts)
    _prefer(transport, known.key_types(hop.host_key_name))
    transport.start_client(timeout=2 * settings.connect_timeout_s)
    shown = transport.get_remote_server_key()  # raises when the exchange was not over in time
    verdict = known.verdict(hop.host_key_name, shown.get_base64())
    if verdict is not Verdict.KNOWN:
        raise NodeUnreachable(f"{name}: {_host_key_problem(verdict, hop, shown, known)}")


def _prefer(transport: paramiko.Transport, key_types: tuple[str, ...]) -> None:
    """Ask for a key of a type that we know of this host; the others follow, so that a changed type is told as such."""
    options = transport.get_security_options()
    wanted: list[str] = []
    for key_type in key_types:
        wanted += _RSA_SIGNATURES if key_type == "ssh-rsa" else (key_type,)
    offered = tuple(options.key_types)
    first = [each for each in wanted if each in offered]
    options.key_types = [*first, *(each for each in offered if each not in first)]


def _host_key_problem(verdict: Verdict, hop: Destination, shown: paramiko.PKey, known: KnownHosts) -> str:
    key = f"{shown.get_name()} {fingerprint(shown.get_base64())}"
    file = hop.known_hosts[0] if hop.known_hosts else Path("~/.ssh/known_hosts")
    match verdict:
        case Verdict.REVOKED:
            return f"the host key of {hop} ({key}) is marked @revoked: somebody may be posing as this host"
        case Verdict.CHANGED:
            places = ", ".join(known.sources(hop.host_key_name))
            return (
                f"the host key of {hop} is {key}, another one is known ({places}): somebody may be posing as this "
                f"host. If it was installed anew: ssh-keygen -f {file} -R '{hop.host_key_name}', then add its new key"
            )
        case _:
            line = f"{hop.host_key_name} {shown.get_name()} {shown.get_base64()}"
            return (
                f"the host key of {hop} is not known: {key}. Compare with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` "
                f"there; if it is the same: echo '{line}' >> {file}"
            )


def _authenticate(name: str, hop: Destination, transport: paramiko.Transport) -> None:
    """By the first key that the server takes. Passwords are never asked for nor sent."""
    tried: list[str] = []
    with contextlib.closing(paramiko.Agent()) as agent:
        for label, key in _keys(hop, agent, tried):
            tried.append(label)
            try:
                further = transport.auth_publickey(hop.user, key)
            except paramiko.BadAuthenticationType as error:
                raise NodeUnreachable(
                    f"{name}: {hop} does not accept public keys, only {', '.join(error.allowed_types)}"
                ) from error
            except paramiko.AuthenticationException:
                if transport.is_active():
                    continue
                tried.append("then it hung up: too many keys?")
                break
            if further:
                raise NodeUnreachable(f"{name}: {hop} wants {', '.join(further)} besides a key: not supported")
            return
    what = ", ".join(tried) or "none was found"
    raise NodeUnreachable(
        f"{name}: {hop} accepts no key of ours (tried: {what}): add a public key to ~{hop.user}/.ssh/authorized_keys "
        "there, or name another one (ssh.identity_file)"
    )


def _keys(hop: Destination, agent: paramiko.Agent, notes: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys to try: the named files, then whatever else the agent has. Unusable ones are noted."""
    in_agent = {key.get_base64(): key for key in agent.get_keys()}
    for file in hop.identity_files:
        public = _public_half(file)
        if public in in_agent:  # the agent knows it without a passphrase
            yield f"{file} (agent)", in_agent.pop(public)
            continue
        try:
            yield str(file), paramiko.PKey.from_path(file)
        except TypeError:
            notes.append(f"{file} (has a passphrase: ssh-add it)")
        except OSError as error:
            notes.append(f"{file} ({error.strerror})")
        except (ValueError, paramiko.SSHException, UnknownKeyType):
            notes.append(f"{file} (no private key)")
    if hop.use_agent:
        yield from ((f"agent's {fingerprint(text)}", key) for text, key in in_agent.items())


def _public_half(file: Path) -> str:
    """base64 of the public key beside a private one; empty where there is none."""
    try:
        words = file.with_name(file.name + ".pub").read_text("utf-8", "replace").split()
    except OSError:
        return ""
    return words[1] if len(words) > 1 else ""


@contextlib.contextmanager
def _explained(name: str, hop: Destination, settings: SshSettings) -> Iterator[None]:
    """Errors of sockets and paramiko as NodeUnreachable."""
    try:
        yield
    except TimeoutError as error:
        raise NodeUnreachable(
            f"{name}: {hop} did not answer within {settings.connect_timeout_s:g} s: is the node up, the address right?"
        ) from error
    except ConnectionRefusedError as error:
        raise NodeUnreachable(f"{name}: nothing listens on {hop}: does sshd run there, on that port?") from error
    except socket.gaierror as error:
        raise NodeUnreachable(f"{name}: no address for {hop.host}: {error.strerror}") from error
    except OSError as error:
        raise NodeUnreachable(f"{name}: {hop}: {error.strerror or error}") from error
    except paramiko.ChannelException as error:
        raise NodeUnreachable(f"{name}: the jump host could not connect to {hop}: {error.text}") from error
    except (paramiko.SSHException, EOFError) as error:
        if isinstance(error, paramiko.SSHException) and "banner" in str(error):  # the only way to tell it
            raise NodeUnreachable(
                f"{name}: {hop} accepts connections and says nothing: is that an SSH server, and not stuck?"
            ) from error
        reason = str(error) or "the server closed the connection"
        raise NodeUnreachable(f"{name}: SSH with {hop} failed: {reason}") from error
