"""The descriptions of the codecs: complete, and light enough for a config to import."""

import subprocess
import sys
from typing import get_args

import pytest

from pgolf.identity.closure import stage_code
from pgolf.pack.codec import CODECS, CodecName, StreamCodec
from pgolf.pack.config import CompressConfig
from pgolf.recipes.recipe import COMPRESS


def test_every_codec_is_described_once():
    assert get_args(CodecName) == tuple(CODECS)


def test_a_number_never_comes_to_mean_another_codec():
    # Files hold these: a new codec takes the next, and none moves.
    numbers = {name: codec.number for name, codec in CODECS.items()}
    assert numbers == {"zstd": 0, "xz": 1, "brotli": 2, "rans": 3}


@pytest.mark.parametrize(
    ("codec", "levels"), [("zstd", (16, 1, 17, 2)), ("xz", (9,)), ("brotli", (11,)), ("rans", (0,))]
)
def test_a_codec_without_configured_levels_is_tried_at_its_strongest(codec, levels):
    assert CompressConfig(codec=codec).levels == levels


def test_the_library_of_every_codec_is_part_of_the_stages_key():
    # The stage tries what the codec's library writes, and imports all of them.
    libraries = {codec.library for codec in CODECS.values() if codec.library}
    assert libraries == {"zstandard", "brotli"}
    assert libraries <= stage_code(COMPRESS.entry).distributions.keys()


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if isinstance(codec, StreamCodec)])
def test_a_level_that_a_codec_does_not_have_is_refused(name):
    with pytest.raises(AssertionError, match="has no level"):
        CODECS[name].compress(CODECS[name].levels.stop, b"")


def test_a_config_and_its_codec_load_no_library():
    code = (
        "import sys; from pgolf.pack.config import CompressConfig; CompressConfig(codec='rans').levels;"
        "assert not {'numpy', 'zstandard', 'brotli', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
