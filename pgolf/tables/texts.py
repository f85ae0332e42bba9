"""Which validation text scores are of: nothing is ranked, averaged or tested across texts or tokenizations.

A text in one tokenization is told by the digests of its tokens, of the tokenizer and of the raw text, and by the bytes
that the scored targets stand for: texts that normalize to the same tokens are not the same. Rows of tokens without a
text have no digest of one. They are compared with rows of the same tokens, tokenizer and number of bytes, if these are
of one raw text, and are never said to be of that text.

Rows of earlier versions have no digest at all. Their recipe key covers the data, so they belong to the tokens of any
newer row of the same key; where there is no such row they are compared within their recipe key alone, and without even
that within their run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pgolf.errors import ResultsError
from pgolf.tables.grouped import Whole, codes, mask, numbered, places, plain

TEXT_COLUMNS = ("data_name", "val_sha256", "tokenizer_sha256", "text_sha256")
_SHOWN_DIGITS = 12

_Counted = tuple[str | None, str | None, int | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A validation text in one tokenization; digests have 64 hex digits.

    names: of the data sets that hold it. raw_sha256: of the text itself, None where it is not known. bytes: those that
    the scored targets stand for. within: where no digest is known, the recipe key or run that such rows are compared
    within.
    """

    names: tuple[str, ...]
    val_sha256: str | None
    tokenizer_sha256: str | None
    raw_sha256: str | None = None
    bytes: int | None = None
    within: str = ""

    @property
    def name(self) -> str | None:
        """What it is called."""
        return ", ".join(self.names) or None

    @property
    def is_known(self) -> bool:
        """Whether a digest says which text it is."""
        return self.val_sha256 is not None

    @property
    def tokenization(self) -> tuple[str | None, str | None]:
        """Its tokens and tokenizer, whatever window cut them."""
        return self.val_sha256, self.tokenizer_sha256

    @property
    def facts(self) -> dict[str, str | None]:
        """The columns of the result tables that say which text it is."""
        found = (self.name, self.val_sha256, self.tokenizer_sha256, self.raw_sha256)
        return dict(zip(TEXT_COLUMNS, found))

    def __str__(self) -> str:
        counted = "bytes not recorded" if self.bytes is None else f"{self.bytes:,} bytes"
        if not self.is_known:
            return f"not recorded; compared within {self.within} alone ({counted})"
        digests = {"text": self.raw_sha256, "tokens": self.val_sha256, "tokenizer": self.tokenizer_sha256}
        listed = ", ".join(f"{what} {_short(digest) or 'not recorded'}" for what, digest in digests.items())
        return f"{self.name or '?'} ({listed}, {counted})"


def _short(digest: str | None) -> str:
    return (digest or "")[:_SHOWN_DIGITS]


def by_text(scores: pa.Table) -> list[tuple[Text, pa.Table]]:
    """The scores of each text, by name; those whose text was not recorded come last."""
    # A chunk per run would cost every later step more than this one copy.
    scores = scores.combine_chunks()
    texts, of_row = _texts(scores)
    if len(texts) < 2:
        return [(text, scores) for text in texts]
    order = sorted(range(len(texts)), key=lambda k: (not texts[k].is_known, texts[k].names, str(texts[k])))
    return [(texts[k], scores.filter(mask(of_row == k))) for k in order]


def text_of(scores: pa.Table) -> Text | None:
    """The one text that all of these scores are of; None without scores.

    Raises ResultsError where there are several: no list, mean or test may join them.
    """
    texts, _ = _texts(scores)
    if len(texts) > 1:
        listed = "; ".join(str(text) for text in texts[:3]) + ("; …" if len(texts) > 3 else "")
        raise ResultsError(
            f"these scores are of {len(texts)} validation texts or tokenizations, which no list, mean or test may "
            f"join: {listed}; take each apart (`pgolf.tables.texts.by_text`), or filter by val_sha256, text_sha256 and "
            "bytes"
        )
    return texts[0] if texts else None


def across_tokenizers(texts: Sequence[Text]) -> dict[str, list[Text]]:
    """Digest of a raw text -> its recorded tokenizations, if several. Their bits per byte may be compared."""
    found: dict[str, list[Text]] = {}
    for text in texts:
        # Of rows that do not say their tokenizer nobody knows whether it is another one.
        if text.raw_sha256 is not None and text.tokenizer_sha256 is not None:
            found.setdefault(text.raw_sha256, []).append(text)
    return {raw: of_raw for raw, of_raw in found.items() if len({text.tokenization for text in of_raw}) > 1}


def _texts(scores: pa.Table) -> tuple[list[Text], Whole]:
    """The texts, and the number of each row's."""
    names = [*TEXT_COLUMNS, "bytes", "recipe_key"]
    coded = [codes(scores.column(name)) for name in names]
    # The run matters only where nothing else is known; else every run would be looked at one by one.
    runs, count = codes(scores.column("run_key"))
    unknown = plain(scores.column("val_sha256").is_null()) & plain(scores.column("recipe_key").is_null())
    kinds = numbered([*coded, (np.where(unknown, runs + 1, 0), count + 1)], scores.num_rows)
    first = places(np.unique(kinds, return_index=True)[1])
    kept = [dict(zip([*names, "run_key"], row)) for row in zip(*_values(scores, [*names, "run_key"], first))]
    learned = _learned(kept)
    counted = [_counted(row, learned) for row in kept]
    raw_texts: dict[_Counted, set[str]] = {}
    for row, identity in zip(kept, counted):
        raw_texts.setdefault(identity, set()).update([row["text_sha256"]] if row["text_sha256"] else [])
    members: dict[tuple[_Counted, str | None], list[dict[str, Any]]] = {}
    of_kind = []
    for row, identity in zip(kept, counted):
        known = raw_texts[identity]
        # Of several raw texts nobody knows which one a row without a text is of.
        raw = row["text_sha256"] or (next(iter(known)) if len(known) == 1 else None)
        members.setdefault((identity, raw), []).append(row)
        of_kind.append(list(members).index((identity, raw)))
    texts = [
        Text(
            names=tuple(sorted({row["data_name"] for row in rows if row["data_name"]})),
            val_sha256=val,
            tokenizer_sha256=tokenizer,
            raw_sha256=raw,
            bytes=count,
            within=within,
        )
        for ((val, tokenizer, count, within), raw), rows in members.items()
    ]
    return texts, np.array(of_kind, np.int64)[kinds] if of_kind else kinds


def _counted(row: dict[str, Any], learned: dict[str, tuple[str, str | None]]) -> _Counted:
    """The tokens, the tokenizer, the bytes they stand for, and what the row is compared within without those."""
    val, tokenizer, key = row["val_sha256"], row["tokenizer_sha256"], row["recipe_key"]
    within = ""
    if val is None and key in learned:
        val, tokenizer = learned[key]
    elif val is None:
        within = f"run {row['run_key']}" if key is None else f"recipe key {_short(key)}"
    return val, tokenizer, row["bytes"], within


def _values(scores: pa.Table, names: Sequence[str], rows: "pa.Array[Any]") -> list[list[Any]]:
    return [scores.column(name).take(rows).to_pylist() for name in names]


def _learned(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    """Recipe key -> the tokens and tokenizer of its rows that have them, where all of these agree."""
    found: dict[str, set[tuple[str, str | None]]] = {}
    for row in rows:
        if row["recipe_key"] is not None and row["val_sha256"] is not None:
            found.setdefault(row["recipe_key"], set()).add((row["val_sha256"], row["tokenizer_sha256"]))
    return {key: next(iter(texts)) for key, texts in found.items() if len(texts) == 1}
