"""What a certificate says, whatever its request asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.pki.authority import AUTHORITY_LIFE, Authority, Subject, make_key, make_request

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test")


def certificate(authority: Authority, subject: Subject, life: timedelta = DAY) -> x509.Certificate:
    signed = authority.sign(make_request(make_key()), subject, life)
    return x509.load_pem_x509_certificate(signed.certificate)


def names(found: x509.Certificate) -> tuple[list[str], list[str]]:
    value = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(each) for each in value.get_values_for_type(x509.IPAddress)]
    return value.get_values_for_type(x509.DNSName), addresses


def test_a_judicator_serves_under_its_role_and_its_addresses(authority: Authority) -> None:
    hosts = ("10.0.0.1", "a.example")
    found = certificate(authority, Subject(cluster="c", name="a", role="judicator", hosts=hosts))
    assert names(found) == (["judicator.khala", "a.example"], ["10.0.0.1"])
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage and ExtendedKeyUsageOID.CLIENT_AUTH in usage
    assert found.subject.rfc4514_string() == "CN=a,OU=judicator,O=c"


@pytest.mark.parametrize("role", ["executor", "gateway"])
def test_the_others_cannot_serve_nor_have_addresses(authority: Authority, role: str) -> None:
    subject = Subject(cluster="c", name="e", role=role, hosts=("judicator.khala", "10.0.0.1"))
    found = certificate(authority, subject)
    assert names(found) == ([f"{role}.khala"], [])
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_no_certificate_outlives_its_authority(authority: Authority) -> None:
    subject = Subject(cluster="c", name="e", role="executor")
    signed = authority.sign(make_request(make_key()), subject, 2 * AUTHORITY_LIFE)
    own = x509.load_pem_x509_certificate(authority.certificate)
    assert signed.expires_at == own.not_valid_after_utc
    soon = authority.sign(make_request(make_key()), subject, DAY)
    assert abs(soon.expires_at - utc_now() - DAY) < timedelta(hours=1)


def test_the_same_key_has_the_same_fingerprint(authority: Authority) -> None:
    key, subject = make_key(), Subject(cluster="c", name="e", role="executor")
    first, second, other = (
        authority.sign(make_request(each), subject, DAY).fingerprint
        for each in (key, key, make_key())
    )
    assert first == second != other


def test_what_is_no_request_is_refused(authority: Authority) -> None:
    subject = Subject(cluster="c", name="e", role="executor")
    broken = bytearray(make_request(make_key()))
    for request in (b"", b"no", make_key(), authority.certificate, bytes(broken[:-60])):
        with pytest.raises(Rejected, match="csr: not a"):
            authority.sign(request, subject, DAY)


def test_an_authority_is_loaded_only_with_its_own_key(authority: Authority) -> None:
    again = Authority.load(authority.certificate, authority.key)
    assert (again.certificate, again.key) == (authority.certificate, authority.key)
    with pytest.raises(Rejected, match="does not belong"):
        Authority.load(authority.certificate, make_key())
    with pytest.raises(Rejected, match="cannot be read"):
        Authority.load(b"", authority.key)


def test_a_clock_that_is_hours_early_does_not_lose_the_cluster(authority: Authority) -> None:
    """Right after a certificate was made or renewed, every other node must believe it."""
    found = certificate(authority, Subject(cluster="c", name="e", role="executor"))
    own = x509.load_pem_x509_certificate(authority.certificate)
    for each in (found, own):
        assert each.not_valid_before_utc < utc_now() - timedelta(hours=12)
