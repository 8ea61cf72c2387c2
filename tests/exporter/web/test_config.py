"""The web configuration file: what is read from it, and what is said of every mistake."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import Authority, private_pem
from cryptography.hazmat.primitives.asymmetric import ec

from exporter.web.config import RateLimit, WebConfigError, read
from exporter.web.live import LiveWeb
from exporter.web.tls_section import ClientPolicy
from exporter.web.watched import Watched

PROJECT = Path(__file__).parents[3]
KEYS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
HASH = "$2y$04$" + "x" * 53
TLS = "tls_server_config:\n  cert_file: node.crt\n  key_file: node.key\n"
CLIENTS = TLS + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"


@pytest.fixture
def web(folder):
    """Text → WebConfig, from web.yml in the folder."""

    def parse(text):
        (folder / "web.yml").write_text(text)
        return read(folder / "web.yml", Watched())

    return parse


@pytest.fixture
def problems(folder):
    """Text → what is wrong with it, without the folder's name."""

    def find(text):
        (folder / "web.yml").write_text(text)
        with pytest.raises(WebConfigError) as caught:
            LiveWeb(folder / "web.yml")
        return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]

    return find


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "tls_server_config:\nbasic_auth_users:\n", "tls_server_config: {}"]
)
def test_nothing_asked_for(web, text):
    """An empty file is one that asks for nothing, as for Prometheus' own exporters."""
    config = web(text)
    assert (config.tls, config.headers, dict(config.users), config.rate_limit) == (None, (), {}, None)


def test_everything(web, folder, authority, server_pair):
    """Each key that exporter-toolkit has; files are looked for beside the configuration."""
    config = web(
        CLIENTS + "  client_allowed_sans: [prometheus.example.org, 192.0.2.1]\n"
        "  min_version: TLS12\n  max_version: TLS13\n"
        "  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
        "  prefer_server_cipher_suites: false\n  curve_preferences: [CurveP384]\n"
        "http_server_config:\n  http2: true\n  headers:\n"
        "    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=1\n    X-XSS-Protection: ''\n"
        f"basic_auth_users:\n  prometheus: {HASH}\n  007: {HASH}\n"
        "rate_limit: {interval: 1m0.5s, burst: 3}\n"
    )
    tls = config.tls
    assert (tls.certificate, tls.key, tls.client_ca) == (
        server_pair.certificate,
        server_pair.key,
        authority.certificate,
    )
    assert (tls.policy, tls.allowed_sans) == (ClientPolicy.REQUIRED, {"prometheus.example.org", "192.0.2.1"})
    assert (tls.minimum, tls.maximum) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert (tls.ciphers, tls.server_preference, tls.curve) == (("ECDHE-RSA-AES128-GCM-SHA256",), False, "secp384r1")
    assert config.headers == ((b"X-Frame-Options", b"deny"), (b"Strict-Transport-Security", b"max-age=1"))
    assert config.users == {b"prometheus": HASH.encode(), b"007": HASH.encode()}
    assert config.rate_limit == RateLimit(60.5, 3)
    assert config.warnings == ()


def test_pem_in_the_file_itself(web, authority, server_pair):
    """`cert`, `key` and `client_ca` instead of the names of files."""

    def block(name, pem):
        return f"  {name}: |\n" + "".join(f"    {line}\n" for line in pem.decode().splitlines())

    config = web(
        "tls_server_config:\n  client_auth_type: VerifyClientCertIfGiven\n"
        + block("cert", server_pair.certificate)
        + block("key", server_pair.key)
        + block("client_ca", authority.certificate)
    )
    assert config.tls.key == server_pair.key
    assert ["open to more than its owner" in warning for warning in config.warnings] == [True]


def test_only_ciphers_of_tls_13(web):
    """Then there is no TLS 1.2, as with Go: its own default would be more than was asked for."""
    assert web(TLS + "  cipher_suites: [TLS_AES_256_GCM_SHA384]\n").tls.minimum is ssl.TLSVersion.TLSv1_3


def test_what_works_and_is_not_wise(web, folder):
    """A key that others can read, passwords in the clear."""
    (folder / "node.key").chmod(0o640)
    assert web(TLS).warnings == (
        f"{folder}/node.key: holds a private key and is open to more than its owner (chmod 600)",
    )
    assert web(f"basic_auth_users: {{a: {HASH}}}").warnings == (
        f"{folder}/web.yml: basic_auth_users without TLS: passwords travel in the clear",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls_server_config: [", "web.yml:1: not YAML: "),
        ("a: 1\n\tb: 2", "web.yml:2: not YAML: "),
        ("\0", "web.yml:1: not YAML: "),
        ("- 1", "web.yml:1: must be a mapping"),
        ("? [a]\n: 1", "web.yml:1: a key must be text"),
        ("tls_config: {}", "web.yml:1: unknown key tls_config (there are tls_server_config, "),
        ("basic_auth_users: {}\nbasic_auth_users: {}", "web.yml:2: basic_auth_users: given twice"),
        ("basic_auth_users: []", "web.yml:1: basic_auth_users: must be a mapping"),
        ("basic_auth_users:\n  a: [x]", "web.yml:2: basic_auth_users: a: must be text"),
        ("basic_auth_users:\n  a: secret", 'web.yml:2: basic_auth_users: a: no bcrypt hash (htpasswd -nBC 10 "" '),
        ("basic_auth_users:\n  a: $6$salt$hash", "web.yml:2: basic_auth_users: a: no bcrypt hash"),
        (f"basic_auth_users:\n  a: $2b$31${'x' * 53}", "web.yml:2: basic_auth_users: a: cost 31: 4 to 13 are "),
        (f"basic_auth_users:\n  a: $2b$14${'x' * 53}", "web.yml:2: basic_auth_users: a: cost 14: 4 to 13 are "),
        (f"basic_auth_users:\n  'a:b': {HASH}", "web.yml:2: basic_auth_users: a:b: a name with a colon cannot be "),
        ("http_server_config: {http2: maybe}", "web.yml:1: http_server_config: http2: must be true or false"),
        ("http_server_config: {http3: true}", "web.yml:1: http_server_config: unknown key http3"),
        ("http_server_config:\n  headers:\n    Server: x", "web.yml:3: headers: Server cannot be set (there are "),
        ("http_server_config: {headers: {X-Frame-Options: x}}", "headers: X-Frame-Options can be deny or sameorigin"),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb"}}', "X-XSS-Protection must be one line of ASCII"),
        ("rate_limit: {interval: 5, burst: 1}", "rate_limit: interval: is no time with its unit, as 1s or 500ms"),
        ("rate_limit: {interval: 5s}", "rate_limit: burst: must be at least 1"),
        ("rate_limit: {interval: 5s, burst: -1}", "rate_limit: burst: must be a whole number"),
        ("rate_limit: {interval: 5s, burst: many}", "rate_limit: burst: must be a whole number"),
        (
            "tls_server_config: {min_version: TLS13}",
            "tls_server_config: without cert_file and key_file there is no TLS",
        ),
        ("tls_server_config:\n  cert_file: node.crt", "web.yml:1: tls_server_config: key_file: is missing"),
        ("tls_server_config:\n  key_file: node.key", "web.yml:1: tls_server_config: cert_file: is missing"),
        ("tls_server_config: {client_auth_type: NoClientCert}", "cert_file: is missing"),
        (
            TLS.replace("node.crt", "no.crt"),
            "web.yml:2: tls_server_config: cert_file: no.crt: No such file or directory",
        ),
        (TLS.replace("node.key", "/"), "web.yml:3: tls_server_config: key_file: /: Is a directory"),
        (
            TLS.replace("node.crt", "node.key"),
            "web.yml:2: tls_server_config: cert_file: there is no CERTIFICATE in PEM",
        ),
        (TLS.replace("node.key", "ca.crt"), "web.yml:3: tls_server_config: key_file: there is no PRIVATE KEY in PEM"),
        (TLS.replace("node.crt", "ca.crt"), "web.yml:1: tls_server_config: the private key is not that of the "),
        (TLS + "  cert: x", "web.yml:4: tls_server_config: cert: stands beside cert_file: one of the two"),
        (TLS + "  cert_file: x", "web.yml:4: tls_server_config: cert_file: given twice"),
        (TLS + "  certfile: x", "web.yml:4: tls_server_config: unknown key certfile"),
        (TLS + "  min_version: TLS10", "web.yml:4: tls_server_config: min_version: TLS10 is out of use (RFC 8996)"),
        (TLS + "  max_version: TLS14", "web.yml:4: tls_server_config: max_version: unknown version: TLS12 or TLS13"),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12",
            "web.yml:5: tls_server_config: max_version: nothing is left",
        ),
        (TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]", "max_version: nothing is left"),
        (TLS + "  cipher_suites: TLS_AES_128_GCM_SHA256", "cipher_suites: must be a list of texts"),
        (
            TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]",
            "cipher_suites: unknown: TLS_RSA_WITH_RC4_128_SHA (there ",
        ),
        (TLS + "  curve_preferences: [CurveP256, X25519]", "curve_preferences: this exporter can be held to one curve"),
        (TLS + "  curve_preferences: [P-256]", "curve_preferences: unknown: P-256 (there are CurveP256, "),
        (TLS + "  prefer_server_cipher_suites: 1", "prefer_server_cipher_suites: must be true or false"),
        (TLS + "  client_auth_type: RequestClientCert", "RequestClientCert takes certificates unseen, which is not"),
        (TLS + "  client_auth_type: RequireAnyClientCert", "RequireAnyClientCert takes certificates unseen"),
        (TLS + "  client_auth_type: Always", "client_auth_type: unknown policy (there are NoClientCert, "),
        (TLS + "  client_auth_type: RequireAndVerifyClientCert", "whose certificates? client_ca_file is missing"),
        (
            TLS + "  client_ca_file: ca.crt",
            "is NoClientCert: client_ca_file and client_allowed_sans would have no effect",
        ),
        (TLS + "  client_allowed_sans: [a]", "is NoClientCert: client_ca_file and client_allowed_sans would have no "),
        (CLIENTS + "  client_allowed_sans: []", "web.yml:6: tls_server_config: client_allowed_sans: names nobody"),
        (CLIENTS.replace("ca.crt", "node.key"), "client_ca_file: there is no CERTIFICATE in PEM"),
    ],
)
def test_mistakes(problems, text, message):
    """Each is named with its line; nothing starts with a part of what was asked for."""
    assert [problem for problem in problems(text) if message in problem], problems(text)


def test_all_mistakes_at_once_in_the_order_of_the_file(problems):
    """One run of the exporter shows them all, once each."""
    found = problems("x: 1\nbasic_auth_users: {a: b}\ntls_server_config:\n  key_file: no\n  y: 2\nrate_limit: {z: 3}\n")
    assert [problem.split(": ", 1)[0] for problem in found] == [f"web.yml:{line}" for line in (1, 2, 3, 4, 5, 6)]


def test_an_authority_that_is_none(problems, folder):
    """The armour alone does not make a certificate."""
    (folder / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "client_ca_file has no certificate that can be read" in problems(CLIENTS)[0]
    (folder / "node.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "certificate or private key cannot be read" in problems(TLS)[0]


def test_an_encrypted_key(problems, folder):
    """Nobody is asked for its passphrase: a service has no terminal."""
    (folder / "node.key").write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1()), b"passphrase"))
    assert problems(TLS) == [
        "web.yml:1: tls_server_config: the private key is encrypted; nobody is there to type its passphrase"
    ]


def test_files_that_cannot_be_read(tmp_path):
    """The configuration itself: not there, not text."""
    with pytest.raises(WebConfigError, match=r"no\.yml: No such file or directory"):
        read(tmp_path / "no.yml", Watched())
    (tmp_path / "web.yml").write_bytes(b"a: \xff")
    with pytest.raises(WebConfigError, match=r"web\.yml: not UTF-8: invalid start byte at byte 3"):
        read(tmp_path / "web.yml", Watched())


def test_secrets_stay_out_of_messages(problems, web, server_pair):
    """Neither a password that stands where its hash should, nor the key, nor a hash is shown."""
    texts = ["basic_auth_users:\n  a: hunter2\n", "basic_auth_users:\n  a: 'hunter2\n", "basic_auth_users: hunter2"]
    assert not any("hunter2" in problem for text in texts for problem in problems(text))
    shown = repr(web(TLS + f"basic_auth_users: {{a: {HASH}}}"))
    assert HASH not in shown
    assert server_pair.key.decode().splitlines()[1] not in shown


def test_the_exporter_does_not_start_with_a_bad_file(folder):
    """Exit status 2, one line a problem, nothing else."""
    (folder / "web.yml").write_text("tls_server_config: {cert_file: no.crt, key_file: node.key}\nx: 1\n")
    command = [
        sys.executable,
        "-m",
        "exporter",
        "--web.listen-address=127.0.0.1:0",
        f"--web.config.file={folder}/web.yml",
    ]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == 2
    assert run.stdout == ""
    assert [line.replace(f"{folder}/", "") for line in run.stderr.splitlines()] == [
        "grid-exporter: web.yml:1: tls_server_config: cert_file: no.crt: No such file or directory",
        "grid-exporter: web.yml:2: unknown key x (there are " + ", ".join(KEYS) + ")",
    ]


def test_two_authorities_in_one_file(web, folder):
    """A file of several certificates is read whole: both may have signed clients."""
    (folder / "ca.crt").write_bytes((folder / "ca.crt").read_bytes() + Authority("other").certificate)
    web(CLIENTS)
    assert LiveWeb(folder / "web.yml").tls.cert_store_stats()["x509_ca"] == 2
