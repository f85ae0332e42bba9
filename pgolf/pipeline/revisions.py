"""Which commit a published data set is taken from. A branch or tag may move, so an output is known by the commit alone.

Imports the Hub's client only where it has to ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pgolf.corpus.fetch_config import FetchConfig
from pgolf.errors import FetchError
from pgolf.pipeline.graph import Sources
from pgolf.recipes.recipe import FETCH, Recipe
from pgolf.store.artifact import Store
from pgolf.store.output_record import Record


@dataclass(frozen=True, slots=True)
class Pinned:
    """Settings of fetch (None: nothing is fetched) with a commit, what is to be said of it, and whether it was asked.

    Where the Hub cannot be asked the commit is that of the data fetched last, or there is none and the name stays.
    """

    config: FetchConfig | None
    note: str = ""
    asked: bool = True

    def refuse_unasked(self) -> None:
        """Raise FetchError, saying what to pass instead, where the Hub could not be asked: a plan may go on, no run."""
        if not self.asked:
            raise FetchError(self.note)

    def notes(self) -> tuple[str, ...]:
        """The note, if there is one."""
        return (self.note,) if self.note else ()

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with these settings."""
        return recipe.model_copy(update={"fetch": self.config}) if self.config else recipe


def pin(config: FetchConfig | None, store: Store, sources: Sources = Sources()) -> Pinned:  # noqa: B008 (frozen)
    """Ask the Hub for the commit that the revision stands for now; of a commit, or of data on disk, nobody is asked.

    Raises FetchError where the Hub knows no such revision.
    """
    if config is None or config.is_pinned or sources.data is not None:
        return Pinned(config)
    known = _known(config, store)
    try:
        return _asked(config, known)
    except _CannotAsk as error:
        if not known:
            return Pinned(config, f"{error}; none was fetched here yet", asked=False)
        here = f"the latest here is {_commit(known[0])}, which {_fetched(known[0])}"
        note = f"{error}; {here}: {_option(known[0])} takes it and asks nobody"
        return Pinned(_at(config, _commit(known[0])), note, asked=False)


class _CannotAsk(FetchError):
    """The Hub gave no answer."""


def _asked(config: FetchConfig, known: Sequence[Record]) -> Pinned:
    from pgolf.corpus.hub import ANSWERS, commit_of, first_line

    name = f"fetch.revision={config.revision} of {config.repo_id}"
    try:
        commit = commit_of(config)
    except (FetchError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, ANSWERS):
            raise
        raise _CannotAsk(f"cannot ask which commit {name} is ({first_line(cause)})") from error
    if not known or commit in map(_commit, known):
        note = f"{name} is {commit}; --set fetch.revision={commit} stays with it and asks nobody"
    else:
        note = (
            f"{name} has moved to {commit}, from {_commit(known[0])}, which {_fetched(known[0])}; "
            f"{_option(known[0])} stays with that and asks nobody"
        )
    return Pinned(_at(config, commit), note)


def _known(config: FetchConfig, store: Store) -> list[Record]:
    """What was fetched here of the same data set, the latest first; before all others, as many shards as are wanted."""

    def is_same(record: Record) -> bool:
        fetched = record.key.get("config", {})
        return all(fetched.get(name) == getattr(config, name) for name in ("variant", "repo_id", "remote_root"))

    def rank(record: Record) -> tuple[bool, str]:
        return record.key["config"].get("train_shards") == config.train_shards, record.started_utc

    found = [record for record in store.records(FETCH.name) if is_same(record) and record.facts.get("revision")]
    return sorted(found, key=rank, reverse=True)


def _commit(record: Record) -> str:
    return str(record.facts["revision"])


def _fetched(record: Record) -> str:
    return f"was fetched on {record.started_utc[:10]}"


def _option(record: Record) -> str:
    return f"--set fetch.revision={_commit(record)}"


def _at(config: FetchConfig, commit: str) -> FetchConfig:
    return config.model_copy(update={"revision": commit})
