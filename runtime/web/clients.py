"""Which addresses count as one client, for the wait after wrong passwords and for the share of the connections."""

from __future__ import annotations

import ipaddress


def client_of(host: str) -> str:
    """Who sends from ``host``, an address as text; one that is valid on one link only has its interface behind a %.

    An IPv4 address inside an IPv6 address (RFC 4291, 2.5.5.2) is that IPv4 address. An IPv6 address counts as its /64
    network, because one client can use all addresses in it. A link-local address counts as itself, on its interface:
    all machines on a link share the network fe80::/64, and the same address may be somebody else on another link.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_link_local:
        return str(address)
    network = ipaddress.ip_network((int(address), 64), strict=False)
    return f"{network}%{address.scope_id}" if address.scope_id else str(network)


def neighborhood_of(client: str) -> str:
    """The wider network of a client (see ``client_of``), of which one attacker may well have many addresses: /16 for
    IPv4, /48 for IPv6, the link for a link-local address."""
    address, _, zone = client.partition("%")
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        return client
    if network.is_link_local and network.version == 6:
        return f"%{zone}"
    return str(network.supernet(new_prefix=16 if network.version == 4 else 48))
