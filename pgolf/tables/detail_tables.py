"""What a report shows of the outputs of a run's stages: four tables, one file per output, named like its folder.

losses      the loss of every step of a training
breakdowns  the network's loss by position in the window, place in the document, length of the document, kind of token
samples     some tokens of validation text with their losses
tensors     what each tensor takes of a packed model
Each is a function of its output alone, so it is computed once, by whichever run asks first, and outlives the output.
Columns as in `pgolf.tables.schema`; `run_key` is the folder of the output in the store.
"""

from collections.abc import Sequence

from pgolf.tables.schema import REAL, SEED, TEXT, WHOLE, Column, TableSpec

OUTPUT = Column("run_key", TEXT, "", "folder of the output in the store, and the file its rows stand in")
_TARGETS = Column("targets", WHOLE, "tokens", "scored targets in this part")
_BYTES = Column("bytes", WHOLE, "B", "UTF-8 bytes of text that they stand for")

LOSSES = TableSpec(
    name="losses",
    columns=(
        OUTPUT,
        SEED,
        Column("step", WHOLE, "", "steps done, this one included"),
        Column("tokens", WHOLE, "tokens", "targets learned from, those of this step included"),
        Column("loss_nats", REAL, "nats/token", "mean over the step's targets, before the step"),
        Column("clock_s", REAL, "s", "training clock after the step"),
    ),
    required=("run_key", "step", "loss_nats"),
    identity=("step",),
)

BREAKDOWNS = TableSpec(
    name="breakdowns",
    columns=(
        OUTPUT,
        SEED,
        Column("by", TEXT, "", "what the targets are told apart by: position, offset, length, kind"),
        Column("part", WHOLE, "", "number of the part, from 0 on"),
        Column("label", TEXT, "", "the part in words"),
        Column("low", WHOLE, "tokens", "least value in the part; null for kinds"),
        Column("high", WHOLE, "tokens", "greatest value in the part; null for kinds"),
        _TARGETS,
        _BYTES,
        Column("loss_sum_nats", REAL, "nats", "sum over those targets"),
        Column("entropy_sum_nats", REAL, "nats", "sum of the entropies of the distributions they were predicted by"),
    ),
    required=("run_key", "by", "part", "label", "targets", "bytes", "loss_sum_nats"),
    identity=("by", "part"),
)

SAMPLES = TableSpec(
    name="samples",
    columns=(
        OUTPUT,
        SEED,
        Column("sample", WHOLE, "", "number of the excerpt, from 0 on"),
        Column("document", WHOLE, "", "which validation document it begins, from 0 on"),
        Column("target", WHOLE, "", "index of the token in the validation stream"),
        Column("text", TEXT, "", "what the token stands for in the normalized text; empty within a character"),
        Column("special", TEXT, "", "the name of a token that stands for no text; null for all others"),
        Column("loss_nats", REAL, "nats", "of the token, given those before it"),
    ),
    required=("run_key", "sample", "target", "text", "loss_nats"),
    identity=("sample", "target"),
)

TENSORS = TableSpec(
    name="tensors",
    columns=(
        OUTPUT,
        SEED,
        Column("tensor", TEXT, "", "name of the tensor; (header) for what describes them all"),
        Column("group", TEXT, "", "part of the network that it belongs to"),
        Column("stored", TEXT, "", "its dtype, or the bits that the largest of its codes needs"),
        Column("elements", WHOLE, "", "numbers in it"),
        Column("plain_bytes", WHOLE, "B", "its bytes before compression"),
        Column("packed_bytes", WHOLE, "B", "its share of the file"),
        Column("codec", TEXT, "", "the compressor of the file"),
    ),
    required=("run_key", "tensor", "packed_bytes"),
    identity=("tensor",),
)

DETAILS: Sequence[TableSpec] = (LOSSES, BREAKDOWNS, SAMPLES, TENSORS)
