"""Settings of the by-document stage: which scorers, and into how many parts the text is cut."""

from pydantic import Field

from pgolf.config import StageConfig
from pgolf.mix.config import MixConfig


class ByDocumentConfig(StageConfig):
    """Scorers of a mix whose losses are wanted document by document, or by parts of whole documents."""

    mix: MixConfig = Field(default=MixConfig(), description="the scorers, as the mix stage takes them, without Hedge")
    parts: int = Field(
        default=0, ge=0, le=10_000, description="parts of whole documents with about equal targets; 0: every document"
    )
