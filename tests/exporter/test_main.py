import socket

import pytest

from exporter.__main__ import main, parse
from exporter.settings import Scope


def test_defaults():
    """Loopback until told otherwise: the output names users and programs."""
    settings = parse([])
    assert (settings.host, settings.port, settings.scope, settings.process.top) == ("127.0.0.1", 9777, Scope.HOST, 50)
    assert settings.collectors == ("cpu", "load", "memory", "pressure", "network", "disk", "gpu", "process")


def test_options():
    """Each spelling people use."""
    settings = parse(["--web.listen-address=[::1]:9", "--process.min-rss=2MiB", "--no-collector=gpu", "--scope=cgroup"])
    assert (settings.host, settings.port, settings.process.min_rss) == ("::1", 9, 2 << 20)
    assert "gpu" not in settings.collectors
    assert parse(["--web.listen-address=:9777"]).host == "0.0.0.0"
    assert parse(["--collectors=process,cpu"]).collectors == ("cpu", "process")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--web.listen-address=9777"], "HOST:PORT"),
        (["--web.listen-address=::1:9777"], "brackets"),
        (["--web.listen-address=h:70000"], "HOST:PORT"),
        (["--scope=universe"], "universe"),
        (["--process.top=0"], "above 0"),
        (["--process.min-rss=lots"], "no size"),
        (["--process.min-cpu=nan"], "no number"),
        (["--collectors=cpu,disks"], "disks"),
        (["--collectors=cpu", "--no-collector=cpu"], "no collector is left"),
        (["--cgroup-path=../x"], "absolute"),
        (["--procfs=/nowhere"], "no procfs"),
        (["--scope=cgroup", "--cgroup-path=/no/such/cgroup"], "no cgroup /no/such/cgroup"),
        (["--cgroup-path=/x"], "--scope=cgroup"),
        (["--unknown"], "--unknown"),
    ],
)
def test_bad_options_exit_2_and_name_the_thing(capsys, options, message):
    """Nothing starts half-configured."""
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_port_in_use(capsys):
    """A message, no stack trace."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([f"--web.listen-address=127.0.0.1:{port}", "--collectors=load"]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
