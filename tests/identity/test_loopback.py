"""Addresses of this machine, and names that look like them."""

import pytest

from pgolf.identity.loopback import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_addresses_of_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "localhost.evil", "127.0.0.1.evil", "::1.evil"])
def test_others_and_names_that_only_begin_like_one(host):
    assert not is_loopback(host)
