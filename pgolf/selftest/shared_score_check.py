"""A score shared by all ranks has the bytes of the same score on one.

Shapes: C columns (loss and entropy in nats), R records.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pgolf.eval.forward import Stream
from pgolf.eval.pieces import Piece
from pgolf.eval.scoring import window_pieces
from pgolf.eval.windows import plan_windows
from pgolf.recipes.systems import pr792, tiny
from pgolf.selftest.check import Check, Numbers, Place, Verdict
from pgolf.selftest.exercised import exercised_network, random_tokens

_BATCHES_PER_RANK, _BATCH_WINDOWS = 2, 2


def measure(place: Place) -> Numbers:
    """Records of #792's twin, how many differ between one rank and all of them, and the mean loss."""
    recipe = tiny(pr792())
    config = recipe.score.model_copy(update={"batch_windows": _BATCH_WINDOWS})
    windows = _BATCH_WINDOWS * _BATCHES_PER_RANK * place.ranks.world_size + 1  # the last batch is not full
    targets = config.window + config.stride * (windows - 1)
    plan = plan_windows(targets, window=config.window, stride=config.stride, tail=config.tail)
    tokens = random_tokens(recipe.model.vocab_size, targets + 1).numpy().astype("uint16")
    model = exercised_network(recipe.model).to(place.device)
    stream = Stream.on(place.device, tokens)
    alone_CR, _ = _columns(window_pieces(model, stream, plan, config), plan.records)
    share_CR, times_R = _columns(window_pieces(model, stream, plan, config, ranks=place.ranks), plan.records)
    joined_CR, joined_R = share_CR.to(place.device), times_R.to(place.device)
    place.ranks.sum(joined_CR)  # every record is one rank's and 0 elsewhere, so the sum is exact
    place.ranks.sum(joined_R)
    return {
        "records": plan.records,
        "missing": int((joined_R != 1).sum()),
        "differing": int((joined_CR.cpu() != alone_CR).any(0).sum()),
        "loss_nats": float(alone_CR[0].double().mean()),
    }


def _columns(pieces: Iterable[Piece], records: int) -> tuple[Tensor, Tensor]:
    """Columns [C, R] float32 with 0 where no piece is, and how many pieces there are of each record, float32 [R]."""
    columns_CR, times_R = torch.zeros(2, records), torch.zeros(records)
    for piece in pieces:
        own = slice(piece.first_record, piece.first_record + len(piece))
        columns_CR[:, own] += torch.from_numpy(piece.columns[:2])
        times_R[own] += 1
    return columns_CR, times_R


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Every record once, and equal bits on every rank."""
    of = by_rank[0]
    said = f"{of['records']} records of #792's twin on 1 and on {len(by_rank)} ranks: "
    missing, differing = (max(numbers[name] for numbers in by_rank) for name in ("missing", "differing"))
    same_loss = all(numbers["loss_nats"] == of["loss_nats"] for numbers in by_rank)
    if missing or differing or not same_loss:
        unequal = "" if same_loss else "; ranks disagree about their own whole"
        return Verdict(False, f"{said}{differing} differ, {missing} are missing or scored twice{unequal}")
    return Verdict(True, f"{said}equal bit for bit")


CHECK = Check(
    name="shared score",
    proves="a score on all ranks has the bytes of a score on one",
    measure=measure,
    judge=judge,
    means="a score depends on how many GPUs computed it, so the store would keep several results under one key",
    remedy="score with --processes 1 until the GPU that differs is found: leave out one after the other by "
    "CUDA_VISIBLE_DEVICES",
    needs_ranks=True,
)
