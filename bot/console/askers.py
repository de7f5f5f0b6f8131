"""Who asks for a code, as far as the limit on codes has to know."""

from __future__ import annotations

import ipaddress


def name_asker(address: str | None, proxies: int) -> str | None:
    """The address whose requests are counted together; None where counting it would count everybody.

    ``proxies``: how many Chorus was told of (TRUSTED_PROXIES). Told of none, an address that is not of the open internet (this machine,
    the local network) is most likely a proxy's, and ten requests an hour would shut out all; the limits on each number hold all the same.
    """
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address if address and proxies else None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if not proxies and not found.is_global:
        return None
    # Whoever has one address of IPv6 has a whole /64 of them (RFC 6177), and each single one costs nothing.
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found.packed, 64), strict=False))
