"""Whether an address is of this machine alone. Names are not looked up; a name that only begins like one is not it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host, an address or a name, can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
