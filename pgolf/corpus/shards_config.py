"""Config of stage `shards`."""

from pgolf.config import StageConfig


class ShardsConfig(StageConfig):
    """Nothing to choose: the data set is what the folder holds."""
