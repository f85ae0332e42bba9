"""One torch thread for all numerical tests here: they are small, and sums must not depend on the machine."""

import pytest

from pgolf.quant.threads import intra_op_threads


@pytest.fixture(autouse=True)
def one_thread():
    with intra_op_threads(1):
        yield
