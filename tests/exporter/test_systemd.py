"""The service manager is told when the exporter is ready and when it stops."""

import errno
import signal
import socket
import urllib.request

import pytest

from exporter import systemd


@pytest.fixture
def manager():
    """A bound datagram socket at the name that it is given, as the service manager's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.settimeout(20)
        yield bound


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_and_stopping(start_exporter, proc, tmp_path, manager, kind):
    """READY=1 once it answers, STOPPING=1 at SIGTERM; by a path or an abstract name."""
    name = f"{tmp_path}/notify" if kind == "path" else f"@{tmp_path}/notify"
    manager.bind(name.replace("@", "\0"))
    exporter = start_exporter(f"--procfs={proc}", "--collectors=load", env={"NOTIFY_SOCKET": name})
    assert manager.recv(100) == b"READY=1"
    with urllib.request.urlopen(exporter.url + "/-/healthy", timeout=10) as answer:
        assert answer.status == 200
    exporter.process.send_signal(signal.SIGTERM)
    assert manager.recv(100) == b"STOPPING=1"
    assert exporter.process.wait(10) == 0


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "/" + "x" * 200])
def test_no_manager_is_no_trouble(monkeypatch, address):
    """Not started by systemd, or its socket has gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify("READY=1")


def test_no_socket_is_no_trouble(monkeypatch, caplog):
    """Descriptors have run out: the log says that the manager was not told."""

    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", none_left)
        systemd.notify("STOPPING=1")
    assert "was not told STOPPING=1: [Errno 24] Too many open files" in caplog.text
