"""What decides the bytes of a fetched data set."""

from pydantic import Field

from pgolf.config import StageConfig


class FetchConfig(StageConfig):
    """Which published data set, and how much of its training split."""

    variant: str = Field(
        default="sp1024",
        pattern=r"^sp[0-9]+$",
        description="published tokenization: sp<K> is the data set fineweb10B_sp<K> (sp1024 is the published one)",
    )
    train_shards: int = Field(default=80, ge=1, description="train shards to fetch, from the first on (val: all)")
    repo_id: str = Field(
        default="willdepueoai/parameter-golf",
        pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$",
        description="data set repository on the Hugging Face Hub",
    )
    remote_root: str = Field(default="datasets", description="folder of the repository that holds manifest.json")
    revision: str = Field(
        default="main",
        min_length=1,
        description="branch, tag or commit; the commit it stood for is among the stage's facts",
    )
