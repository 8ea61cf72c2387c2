"""The controller as a real process against a Prometheus that says what the test wants."""

def test_status(daemon, prometheus):
    daemon.start()
    print(daemon.run("status").stdout)
    prometheus.pressure["head1"]["cpu"] = 0.97
    import time; time.sleep(2)
    done = daemon.run("status")
    print(done.stdout, done.stderr)
    print(daemon.run("scan", "--all").stdout)
    print(daemon.run("auto", "--status").stdout)
    print(daemon.log.read_text())
