"""What a node keeps: who may read it, when it is renewed, and that a renewal is noticed."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.net.credentials import Credentials
from khala.net.secrets import SecretFile, create_secret
from khala.pki.authority import Authority
from khala.pki.local import find_identity, issue
from khala.pki.node import EXECUTOR, JUDICATOR, Certificate, NodeTls, Peer, peer_of, write_secret


def wanted(role: str, name: str, life: timedelta = timedelta(days=9)) -> Certificate:
    now = utc_now()
    return Certificate(cluster="c", name=name, role=role, issued_at=now, expires_at=now + life)


@pytest.fixture
def judicator(tmp_path: Path) -> NodeTls:
    """A judicator's directory, as `--init` leaves it."""
    identity = NodeTls(tmp_path, JUDICATOR)
    authority = Authority.create("test")
    write_secret(identity.authority_file, authority.certificate)
    write_secret(identity.authority_key_file, authority.key)
    issue(identity, identity, wanted(JUDICATOR, "j"))
    return identity


def test_nobody_else_may_read_any_of_it(judicator: NodeTls) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in judicator.folder.iterdir()}
    assert set(modes) == {"ca.crt", "ca.key", "node.pem", "certificate.json"}
    assert set(modes.values()) == {0o600}
    assert judicator.folder.stat().st_mode & 0o077 == 0


def test_it_is_renewed_when_two_thirds_are_over() -> None:
    certificate = wanted(EXECUTOR, "e")
    assert certificate.renew_at - certificate.issued_at == timedelta(days=6)


def test_a_renewed_certificate_is_noticed_once(judicator: NodeTls) -> None:
    assert isinstance(judicator.client, ssl.SSLContext)
    assert not judicator.refresh()
    issue(judicator, judicator, wanted(JUDICATOR, "j"))
    assert judicator.refresh()
    assert not judicator.refresh()


def test_a_role_beside_a_judicator_signs_for_itself(judicator: NodeTls, tmp_path: Path) -> None:
    identity = find_identity(tmp_path, EXECUTOR, "e")
    assert identity is not None
    assert (identity.certificate.name, identity.certificate.cluster) == ("e", "c")
    kept = identity.node_file.read_bytes()
    assert find_identity(tmp_path, EXECUTOR, "e") is not None
    assert identity.node_file.read_bytes() == kept
    renamed = find_identity(tmp_path, EXECUTOR, "f")
    assert renamed is not None and renamed.certificate.name == "f"


def test_a_role_that_joined_keeps_its_name(judicator: NodeTls, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert find_identity(elsewhere, EXECUTOR, "e") is None
    issue(judicator, NodeTls(elsewhere, EXECUTOR), wanted(EXECUTOR, "e"))
    assert find_identity(elsewhere, EXECUTOR, "e") is not None
    with pytest.raises(Rejected, match=r"--name: this data directory joined as e, not as f"):
        find_identity(elsewhere, EXECUTOR, "f")


def test_one_that_has_ended_counts_as_none(judicator: NodeTls, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    issue(judicator, NodeTls(elsewhere, EXECUTOR), wanted(EXECUTOR, "e", timedelta(seconds=-1)))
    assert find_identity(elsewhere, EXECUTOR, "e") is None


def test_a_broken_description_says_what_to_do(judicator: NodeTls) -> None:
    (judicator.folder / "certificate.json").write_text("{}")
    with pytest.raises(Rejected, match="join again with a new token"):
        _ = judicator.certificate


def test_whose_certificate_it_is() -> None:
    subject = ((("organizationName", "c"),), (("organizationalUnitName", "executor"),))
    shown = {"subject": (*subject, (("commonName", "e"),))}
    assert peer_of(shown) == Peer(cluster="c", name="e", role="executor")
    for nobody in (None, {}, {"subject": subject}):
        assert peer_of(nobody) is None


def test_a_process_waits_for_a_secret_or_a_certificate_and_then_stays(
    judicator: NodeTls, tmp_path: Path
) -> None:
    found: list[NodeTls] = []
    secret = SecretFile(tmp_path / "secret", flag="--secret-file")
    credentials = Credentials(secret, lambda: found[0] if found else None)
    assert credentials.identity is None
    found.append(judicator)
    assert credentials.request("a:1", "/x")["url"] == "https://a:1/x"
    found.clear()
    assert credentials.identity is judicator
    plain = Credentials(secret, lambda: found[0] if found else None)
    create_secret(tmp_path / "secret")
    assert plain.socket("a:1", "/x")["uri"] == "ws://a:1/x"
    found.append(judicator)
    assert plain.identity is None
