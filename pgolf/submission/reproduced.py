"""Whether a script's own scores, as it printed them, are those of the tables to the last digit."""

from pgolf.bundle.log_lines import scorer_named, scores_in
from pgolf.errors import ConfigError
from pgolf.submission.entry import Entry, SeedEntry


def refuse_other_scores(entry: Entry, one: SeedEntry, text: str) -> None:
    """Raise ConfigError unless the text has the filed score of a seed, and the network's, each equal in every bit."""
    again = entry.arm.run_of(one.seed).command(entry.arm.seeds)
    printed = {score.name: score for score in scores_in(text)}
    for row in (one.network, one.row):
        name = scorer_named(row)
        score = printed.get(name)
        if score is None:
            raise ConfigError(
                f"seed {one.seed}: the script does not print {name}, only {', '.join(printed) or 'no scorer'}; its "
                "headline is what it evaluates: export with --scorer headline or network"
            )
        for what, told, filed in (("val_loss", score.loss_nats, row["loss_nats"]), ("val_bpb", score.bpb, row["bpb"])):
            if told != filed:
                raise ConfigError(
                    f"seed {one.seed}, {name}: the script alone gives {what} {told!r}, the tables have {filed!r}; the "
                    f"outputs are of another machine or code: {again}, then export again"
                )
