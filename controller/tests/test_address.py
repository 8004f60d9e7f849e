"""Addresses, prefixes, endpoints, MACs and flow keys."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.address import (
    AddressError,
    Endpoint,
    FlowKey,
    Protocol,
    format_address,
    format_mac,
    is_ipv4,
    parse_address,
    parse_endpoint,
    parse_interface,
    parse_mac,
    parse_prefix,
    same_family,
)

addresses = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).filter(lambda a: not a.scope_id).map(str))
endpoints = st.builds(Endpoint, addresses.map(parse_address), st.integers(0, 65535))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.0.0.0", 0xFFFF_0000_0000),
        ("192.0.2.10", 0xFFFF_C000_020A),
        ("::", 0),
        ("::ffff:192.0.2.10", 0xFFFF_C000_020A),
        ("2001:db8::10", 0x20010DB8_00000000_00000000_00000010),
    ],
)
def test_addresses_are_128_bit_and_ipv4_is_mapped(text: str, number: int) -> None:
    assert parse_address(text) == number


@given(addresses)
def test_an_address_survives_both_ways(text: str) -> None:
    number = parse_address(text)
    assert parse_address(format_address(number)) == number
    assert is_ipv4(number) == (ipaddress.ip_address(text).version == 4) or "::ffff:" in text


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "1::2::3", "fe80::1%eth0", "host", "10.0.0.1/24"])
def test_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
        ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
        ("::/0", "2001:db8::1", "203.0.113.1"),
        ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.6"),
    ],
)
def test_prefixes_hold_their_own_family_only(text: str, inside: str, outside: str) -> None:
    prefix = parse_prefix(text)
    assert parse_address(inside) in prefix
    assert parse_address(outside) not in prefix
    assert str(prefix) == text


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_ipv4_prefixes_agree_with_the_standard_library(base: object, length: int, other: object) -> None:
    network = ipaddress.ip_network(f"{base}/{length}", strict=False)
    assert (parse_address(str(other)) in parse_prefix(str(network))) == (other in network)


def test_host_bits_are_refused_with_the_network_named() -> None:
    with pytest.raises(AddressError, match=r"did you mean 10\.0\.0\.0/24"):
        parse_prefix("10.0.0.1/24")


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/", "::/129", "10.0.0.1/٣"])
def test_no_interface_address(text: str) -> None:
    with pytest.raises(AddressError):
        parse_interface(text)


def test_interface_addresses_keep_address_and_network() -> None:
    interface = parse_interface("fd00::1/64")
    assert interface.address == parse_address("fd00::1")
    assert interface.prefix == parse_prefix("fd00::/64")
    assert str(interface) == "fd00::1/64"
    assert str(parse_interface("10.0.0.1/24")) == "10.0.0.1/24"


@given(st.integers(0, 2**48 - 1))
def test_macs_both_ways(mac: int) -> None:
    assert parse_mac(format_mac(mac)) == mac


@pytest.mark.parametrize("text", ["", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g", "2:0:0:0:0:1"])
def test_no_mac(text: str) -> None:
    with pytest.raises(AddressError):
        parse_mac(text)


@given(endpoints)
def test_endpoints_both_ways(endpoint: Endpoint) -> None:
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1:65536", ":80", "::1:80", "[::1]", "[::1]80", "10.0.0.1:http"])
def test_no_endpoint(text: str) -> None:
    with pytest.raises(AddressError):
        parse_endpoint(text)


@given(endpoints, endpoints)
def test_a_flow_has_one_key_whichever_end_speaks(one: Endpoint, other: Endpoint) -> None:
    key = FlowKey.between(one, other, Protocol.TCP)
    assert key == FlowKey.between(other, one, Protocol.TCP)
    assert key.low <= key.high
    client_is_hi = key.high == one
    assert key.client(client_is_hi) == one
    assert key.server(client_is_hi) == other


def test_families() -> None:
    assert same_family(parse_address("10.0.0.1"), parse_address("192.0.2.1"))
    assert not same_family(parse_address("10.0.0.1"), parse_address("fd00::1"))


def test_flow_keys_read_well() -> None:
    key = FlowKey.between(parse_endpoint("[fd00::2]:80"), parse_endpoint("[fd00::1]:4000"), Protocol.UDP)
    assert str(key) == "udp [fd00::1]:4000 <-> [fd00::2]:80"
