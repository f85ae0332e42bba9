"""Config of stage `tokenize`."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from pgolf.config import StageConfig


class TokenizeConfig(StageConfig):
    """Which documents to tokenize, with which tokenizer, and which to hold out for validation."""

    name: str = Field(
        default="documents",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="name of the data set and of its tokenizer: datasets/<name>/, tokenizers/<name>.model",
    )
    source: Literal["documents", "builtin"] = Field(
        default="documents",
        description="documents: the files given as input; builtin: pydoc topics and standard-library docstrings",
    )
    text_field: str = Field(
        default="text", min_length=1, description="JSONL field or Parquet column with a document's text"
    )
    skip_bad: int = Field(
        default=0, ge=0, description="bad documents (not UTF-8, not a string, …) to skip; one more is an error"
    )
    tokenizer: Literal["train", "given"] = Field(
        default="train",
        description="train: SentencePiece BPE trained on the train documents; given: the .model file given as input",
    )
    vocab_size: int = Field(
        default=1024,
        ge=261,
        le=1 << 16,
        description="pieces to train; for a given tokenizer, the number it must have",
    )
    tokenizer_train_bytes: int = Field(
        default=500_000_000,
        ge=1,
        description="UTF-8 bytes of leading train documents to train the tokenizer on (memory: several times that)",
    )
    val_split: Literal["first", "content_hash"] = Field(
        default="first",
        description="first: hold out the first val_documents in file order; content_hash: hold out one document in "
        "val_one_in by a hash of its text, whatever the order",
    )
    val_documents: int = Field(default=50_000, ge=1, description="documents held out by val_split=first")
    val_one_in: int = Field(default=20, ge=2, description="val_split=content_hash holds out one document in this many")
    shard_tokens: int = Field(default=10**8, ge=1, lt=2**31, description="tokens per shard; the last may be shorter")

    def idle(self) -> Mapping[str, Sequence[str]]:
        """See `StageConfig.idle`."""
        found: dict[str, Sequence[str]] = {}
        if self.source == "builtin":
            found |= dict.fromkeys(("text_field", "skip_bad"), ("source",))
        if self.tokenizer == "given":
            found["tokenizer_train_bytes"] = ("tokenizer",)
        found["val_one_in" if self.val_split == "first" else "val_documents"] = ("val_split",)
        return found
