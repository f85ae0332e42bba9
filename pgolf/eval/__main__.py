"""Entry point of the score stage's ranks under torchrun (`pgolf.ranks.enter`)."""

from collections.abc import Mapping

import torch

from pgolf.eval.pieces import PIECES_FILE, write_pieces
from pgolf.eval.score_job import LEDGER_FILE, Job, Ledger
from pgolf.eval.scoring import Scoring, open_text
from pgolf.ranks.enter import enter
from pgolf.ranks.group import Ranks
from pgolf.ranks.job import print_progress
from pgolf.run_options import Fact


def run(job: Job, ranks: Ranks, device: torch.device) -> None:
    """Score this rank's share and write its pieces to the job's folder; rank 0 also writes the ledger."""
    # Batches run in parallel on one thread each, so that the numbers do not depend on the thread count.
    torch.set_num_threads(1)
    scoring = Scoring(
        job.config,
        job.inputs,
        device,
        text=open_text(job.config, job.inputs["data"]),
        ranks=ranks,
        threads=job.threads,
        report=_report if ranks.rank == 0 else lambda _done, _total, _facts: None,
    )
    write_pieces(job.out / PIECES_FILE.format(rank=ranks.rank), scoring.pieces())
    if ranks.rank == 0:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        ledger = Ledger(device=name, phases_s=scoring.phases_s, facts=scoring.facts)
        (job.out / LEDGER_FILE).write_bytes(ledger.model_dump_json().encode())


def _report(done: int, total: int, facts: Mapping[str, Fact]) -> None:
    print_progress({"done": done, "total": total, "facts": facts})


if __name__ == "__main__":
    enter(Job, run)
