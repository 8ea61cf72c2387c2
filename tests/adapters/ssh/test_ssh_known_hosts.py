"""known_hosts as OpenSSH reads it, checked against ssh-keygen where it can be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from offloader.adapters.ssh.knownhosts import KnownHosts, Verdict, fingerprint, host_key_name

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf"


def known(tmp_path: Path, text: str) -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return KnownHosts.read([file])


def test_names_are_those_of_openssh():
    assert host_key_name("Gpu1.Example", 22) == "gpu1.example"
    assert host_key_name("10.0.0.1", 2222) == "[10.0.0.1]:2222"
    assert host_key_name("fe80::1", 2222) == "[fe80::1]:2222"


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        ("gpu1", "gpu1", Verdict.KNOWN),
        ("GPU1", "gpu1", Verdict.KNOWN),
        ("head,gpu1,10.0.0.1", "10.0.0.1", Verdict.KNOWN),
        ("*.cluster", "gpu1.cluster", Verdict.KNOWN),
        ("gpu?", "gpu12", Verdict.UNKNOWN),
        ("*,!gpu1", "gpu1", Verdict.UNKNOWN),
        ("*,!gpu1", "gpu2", Verdict.KNOWN),
        ("[gpu1]:2222", "[gpu1]:2222", Verdict.KNOWN),
        ("[gpu1]:2222", "gpu1", Verdict.UNKNOWN),
        ("gpu1", "[gpu1]:2222", Verdict.UNKNOWN),
        ("[12]:22", "1:22", Verdict.UNKNOWN),
        ("|1|broken", "gpu1", Verdict.UNKNOWN),
    ],
)
def test_a_line_concerns_the_hosts_that_its_patterns_name(tmp_path, names, name, expected):
    assert known(tmp_path, f"{names} ssh-ed25519 {KEY} comment\n").verdict(name, KEY) is expected


def test_hashed_names_written_by_ssh_keygen_are_found(tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text(f"[gpu1]:2222 ssh-ed25519 {KEY}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "gpu1" not in file.read_text()
    assert KnownHosts.read([file]).verdict("[gpu1]:2222", KEY) is Verdict.KNOWN
    assert KnownHosts.read([file]).verdict("gpu1", KEY) is Verdict.UNKNOWN


def test_any_of_several_keys_is_good_another_is_a_change_and_says_where(tmp_path):
    hosts = known(tmp_path, f"# comment\n\ngpu1 ssh-ed25519 {OTHER}\ngpu1 ssh-ed25519 {KEY}\nnonsense\n")
    assert hosts.verdict("gpu1", KEY) is hosts.verdict("gpu1", OTHER) is Verdict.KNOWN
    assert hosts.verdict("gpu1", "AAAA") is Verdict.CHANGED
    assert hosts.sources("gpu1") == (f"{tmp_path}/known_hosts:3", f"{tmp_path}/known_hosts:4")
    assert hosts.key_types("gpu1") == ("ssh-ed25519",)


def test_revoked_beats_known_and_authorities_say_nothing_about_plain_keys(tmp_path):
    hosts = known(tmp_path, f"gpu1 ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}\n")
    assert hosts.verdict("gpu1", KEY) is Verdict.REVOKED
    hosts = known(tmp_path, f"@cert-authority * ssh-ed25519 {KEY}\n")
    assert hosts.verdict("gpu1", KEY) is Verdict.UNKNOWN


def test_files_that_do_not_exist_know_nothing(tmp_path):
    assert KnownHosts.read([tmp_path / "absent"]).verdict("gpu1", KEY) is Verdict.UNKNOWN


def test_fingerprints_are_those_that_ssh_keygen_prints(tmp_path):
    (tmp_path / "key.pub").write_text(f"ssh-ed25519 {KEY}\n")
    done = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    assert fingerprint(KEY) in done.stdout
