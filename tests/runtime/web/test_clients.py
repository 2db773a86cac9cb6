"""Which addresses count as one client."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkface.runtime.web.clients import client_of, neighborhood_of

ADDRESSES = st.ip_addresses(v=6).filter(lambda address: not address.is_link_local and not address.ipv4_mapped)
LINK_LOCAL = st.integers(1, 2**64 - 1).map(lambda number: ipaddress.IPv6Address((0xFE80 << 112) + number))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_an_ipv4_address_is_one_client_also_inside_ipv6(first, second):
    assert client_of(str(first)) == client_of(f"::ffff:{first}")
    assert (client_of(str(first)) == client_of(f"::ffff:{second}")) == (first == second)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(ADDRESSES, st.integers(0, 2**64 - 1))
def test_an_ipv6_network_of_64_bits_is_one_client(address, host):
    network = int(address) >> 64 << 64
    same = ipaddress.IPv6Address(network | host)
    assert client_of(str(address)) == client_of(str(same)) == client_of(same.exploded)
    other = ipaddress.IPv6Address((network ^ (1 << 64)) | host)
    if not other.is_link_local and not other.ipv4_mapped:
        assert client_of(str(other)) != client_of(str(address))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(LINK_LOCAL, LINK_LOCAL, st.integers(1, 9), st.integers(1, 9))
def test_link_local_addresses_are_one_client_each_on_each_interface(first, second, zone, other_zone):
    """All machines on a link share fe80::/64: nobody there may lock out the others, or those on another link."""
    same = first == second and zone == other_zone
    assert (client_of(f"{first}%{zone}") == client_of(f"{second}%{other_zone}")) == same


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=30) | st.sampled_from(["", "testclient", "%", "::%", "::ffff:1.2.3", "fe80::1%", "fe80::%a%b"]))
def test_whatever_the_address_is_it_has_a_client(host):
    assert isinstance(neighborhood_of(client_of(host)), str)


@pytest.mark.parametrize(
    ("one", "near", "far"),
    [
        ("10.0.0.1", "10.0.1.1", "10.1.0.1"),
        ("2001:db8::1", "2001:db8:0:7::1", "2001:db8:1::1"),
        ("fe80::1%2", "fe80::7%2", "fe80::1%3"),
    ],
)
def test_the_neighborhood_is_what_one_attacker_may_have(one, near, far):
    assert neighborhood_of(client_of(one)) == neighborhood_of(client_of(near)) != neighborhood_of(client_of(far))
    assert neighborhood_of("browser abc") == "browser abc"
