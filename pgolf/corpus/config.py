"""What decides the bytes of a tokenized data set."""

from typing import Literal

from pydantic import Field

from pgolf.config import StageConfig


class TokenizeConfig(StageConfig):
    """Documents to shards: which documents, which tokenizer, which of them are held out."""

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
        default="text", min_length=1, description="JSONL field or Parquet column that holds a document's text"
    )
    skip_bad: int = Field(
        default=0, ge=0, description="bad documents (not UTF-8, not a string, …) left out before the next is an error"
    )
    tokenizer: Literal["train", "given"] = Field(
        default="train",
        description="train: SentencePiece BPE on the train documents; given: the .model file given as input",
    )
    vocab_size: int = Field(
        default=1024,
        ge=261,
        le=1 << 16,
        description="pieces to train; with a given tokenizer, the number it must have",
    )
    tokenizer_train_bytes: int = Field(
        default=500_000_000,
        ge=1,
        description="a tokenizer is trained on the leading train documents up to this many UTF-8 bytes (memory: some "
        "times that)",
    )
    val_split: Literal["first", "content_hash"] = Field(
        default="first",
        description="first: the first val_documents in file order are held out; content_hash: each document whose "
        "text's hash falls into one of val_one_in classes, whatever the order",
    )
    val_documents: int = Field(default=50_000, ge=1, description="documents held out by val_split=first")
    val_one_in: int = Field(default=20, ge=2, description="share held out by val_split=content_hash: one in this many")
    shard_tokens: int = Field(default=10**8, ge=1, lt=2**31, description="tokens per shard; the last may be shorter")
