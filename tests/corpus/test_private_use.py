"""Signs of programs in a text, and icons of web pages."""

from collections import Counter

import pytest

from pgolf.corpus.private_use import about, private_use


@pytest.mark.parametrize("signs", [1, 30])
def test_a_few_in_ten_thousand_bytes_are_the_texts_own(signs):
    found = private_use("\uf0b7" * signs + "a\u00e9\ue000"[:2])
    assert found == Counter({"\uf0b7": signs})
    assert about(found, 10_000 * signs) == ""
    assert f"{signs} private-use characters (U+F0B7 {signs} times)" in about(found, 10_000 * signs - 1)
    assert about(Counter(), 0) == ""
