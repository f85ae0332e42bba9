"""The gates of the ranking: what every seed of a scorer must pass to be ranked, and how tables say that it did not.

A new gate is a column of the scores (`pgolf.tables.schema`), a line here, and whatever fills the column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pgolf.tables.columns import to_column
from pgolf.tables.schema import TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """column: of the scores; true passes, false fails, null is not judged. passed, failed: what is said of a scorer.

    inverted: true fails, all else passes. null_fails: null fails too. exempt: an estimator that passes unasked.
    unjudged: what is said where it is null. caution: the note below tables that show scores failing this gate.
    """

    column: str
    passed: str
    failed: str
    inverted: bool = False
    null_fails: bool = False
    exempt: str = ""
    unjudged: str = ""
    caution: str = ""

    def verdicts(self, scores: pa.Table) -> "pa.ChunkedArray[Any]":
        """True, false or null for each row."""
        found = scores.column(self.column)
        if self.exempt:
            passes_unasked = pc.is_in(scores.column("estimator"), value_set=to_column([self.exempt], TEXT))
            found = pc.or_kleene(passes_unasked, found)
        if not (self.inverted or self.null_fails):
            return found
        # Not fill_null(False): to make an Arrow value of False imports pandas.
        only_true = pc.and_kleene(found.is_valid(), found)
        return pc.invert(only_true) if self.inverted else only_true


# What the gates of new rows are judged by (the public challenge's README and rulings on that date). Rows keep the one
# they were judged by; a run that is repeated under another one files its rows again.
RULESET = "readme-2026-05-02"

# The gate of the declared headline. What fails this one alone is shown, below the ranking.
DECLARED = "predeclared"
# The gate of the trial. What nobody declared is not tried by the run that made it.
AUDITED = "audited"

# In the order in which they are judged: a scorer counts as left out by the first that it fails.
GATES: Mapping[str, Gate] = {
    "normalized": Gate(
        column="normalized",
        passed="normalized",
        failed="not normalized",
        caution="legacy, the probabilities do not sum to 1, so these are not code lengths",
    ),
    "causal": Gate(
        column="causal",
        passed="causal",
        failed="not causal",
        caution="not a score, the network learned the text before it was scored on it",
    ),
    "fits_budget": Gate(column="fits_budget", passed="within budget", failed="not within budget"),
    "uninterrupted": Gate(
        column="interrupted",
        # Null in the files of older programs, which did not go on after a kill.
        inverted=True,
        passed="not interrupted",
        failed="interrupted",
        caution="not ranked, a training that stops by the clock was killed and went on",
    ),
    "bytes_verified": Gate(
        column="bytes_verified",
        # Null in the files of older programs, which did not look: a score may be of other bytes than the text's.
        null_fails=True,
        passed="bytes verified",
        failed="bytes not verified",
        caution="not ranked, nobody has verified that the bytes counted are those of the text",
    ),
    # Null in the files of earlier versions, which did not record it. The network alone is no choice among cells.
    DECLARED: Gate(
        column="declared_before_scoring",
        exempt="neural",
        passed="declared before scoring",
        failed="not declared before scoring",
        caution="not ranked, not declared before scores of this text were there, which may have been seen",
    ),
    # Null in the files of earlier versions, whose runs tried nothing.
    AUDITED: Gate(
        column="audited",
        passed="audited",
        failed="not passed by the audit",
        unjudged="not audited",
        caution="not ranked, the audit did not find that these are code lengths",
    ),
}


# Asked of all; the two others ask of a scorer that is to be ranked.
OF_ANY_SCORER = tuple(name for name in GATES if name not in (DECLARED, AUDITED))


def with_gates(scores: pa.Table) -> pa.Table:
    """The scores with a column of verdicts per gate, under the gate's name."""
    for name, gate in GATES.items():
        if name not in scores.column_names:
            scores = scores.append_column(name, gate.verdicts(scores))
        elif name == gate.column and gate.null_fails:
            scores = scores.set_column(scores.column_names.index(name), name, gate.verdicts(scores))
    return scores
