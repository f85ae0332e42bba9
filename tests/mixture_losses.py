"""What the grid makes of each record by itself, for tests of single targets."""

import numpy as np

from pgolf.mix.grid import Grid, Unit


def losses_of(cell, unit, counts, hinted=()):
    """Loss in nats of every record under one cell, [T]."""
    losses = []
    for place in range(len(unit)):
        totals = Grid([cell], counts, hinted=hinted).run([unit.part(slice(place, place + 1))])
        losses.append(totals.loss_nats[0])
    return np.array(losses)


def counted_unit(loss_T, context_OT, full_OT, *, entropy_nats=1.0, name="counts"):
    """A unit with one count stage. Losses may be doubles, where a test needs more than a trace holds."""
    columns = [np.asarray(column, np.uint32) for column in (*context_OT, *full_OT)]
    loss_T = np.asarray(loss_T)
    entropy_T = np.broadcast_to(np.float32(entropy_nats), loss_T.shape).copy()
    return Unit(loss_T, entropy_T, {name: columns})
