"""Config of stage `fetch`."""

import re

from pydantic import Field

from pgolf.config import StageConfig


class FetchConfig(StageConfig):
    """Which published data set to download, and how much of its training split."""

    variant: str = Field(
        default="sp1024",
        pattern=r"^sp[0-9]+$",
        description="published tokenization: sp<K> selects data set fineweb10B_sp<K> (sp1024 is the published one)",
    )
    train_shards: int = Field(default=80, ge=1, description="number of leading train shards to fetch (val: all)")
    repo_id: str = Field(
        default="willdepueoai/parameter-golf",
        pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$",
        description="data set repository on the Hugging Face Hub",
    )
    remote_root: str = Field(default="datasets", description="folder in the repository with manifest.json")
    revision: str = Field(
        default="main",
        min_length=1,
        description="branch, tag or commit (40 hex digits); a run asks for the commit first, and is known by that",
    )

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, and so stands for the same files for ever."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None
