"""Losses by document of scorers that are compared: made once per scorer and seed from what the mix had read, and kept.

The outputs of a run are found by the folders that its table of stages names, not by keys worked out anew: what is
compared is what was scored, whatever the code has become since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pgolf.compare.arms import Arm, scorer_text, with_notes
from pgolf.compare.compared import Compared
from pgolf.compare.comparison import ByDocument, Per, check_comparable, compare_arms
from pgolf.compare.one_kind import of_one_kind
from pgolf.compare.shared_documents import DocumentLosses, on_shared_documents
from pgolf.errors import ConfigError, ResultsError
from pgolf.mix.by_document_config import ByDocumentConfig
from pgolf.mix.by_document_files import read_documents, read_losses, read_whole
from pgolf.mix.files import COUNTS_ROLE, HINTS_ROLE
from pgolf.mix.single_scorer import needs_counts, needs_hints, single_scorer
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Link, Node
from pgolf.pipeline.run_outputs import Gone, Mixed, Workshop, mixed_of
from pgolf.recipes.recipe import BY_DOCUMENT
from pgolf.stats.compare import GainRule
from pgolf.tables.ranked import ScorerResult
from pgolf.tables.scorer_row import scorer_of

# Parts of the text among which a grid's cell can be chosen: one sum per cell and part is kept.
PARTS = 100


def compare_runs(
    arms: Sequence[Arm],
    rule: GainRule,
    shop: Workshop | str,
    *,
    select_on: float | None = None,
    one_kind: bool = True,
) -> Compared:
    """Every arm against the last one, over seeds and over documents.

    shop: where losses by document are made; or the reason why there are none. select_on: see `selected`. one_kind: see
    `of_one_kind`; False: the base's scorer was named for itself, and may be of another kind. Raises ConfigError for
    arms that are one run, for a share that is none, and for named scorers where one is to be chosen; ResultsError as
    `check_comparable` does, and for arms that end at other places of the text where losses by document are not to be
    had.
    """
    keys = [run.key for arm in arms for run in arm.runs]
    if shared := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigError(f"{shared} is in two of the arms; a run is not better than itself")
    names = [arm.name for arm in arms]
    arms = [replace(arm, name=arm.runs[0].key) if names.count(arm.name) > 1 else arm for arm in arms]
    per = check_comparable(arms)
    if one_kind and select_on is None:
        arms = of_one_kind(arms)
    if select_on is not None:
        arms, documents, common = _selected(arms, select_on, shop, per)
    elif len({arm.text.bytes for arm in arms}) > 1:
        arms, documents, common = _on_equal_bytes(arms, shop, per)
    else:
        common = ()
        documents = [ByDocument(why_not=shop) if isinstance(shop, str) else by_document(arm, shop) for arm in arms]
    of_name = {arm.name: of_arm for arm, of_arm in zip(arms, documents)}
    if per == "byte":
        rule = replace(rule, per=per)
        first, *others = common or ("compared over the same bytes",)
        common = (f"other tokens of one text, so per byte; {first}", *others)
    return Compared(arms, compare_arms(arms[:-1], arms[-1], rule, of_name), rule, common)


def by_document(arm: Arm, shop: Workshop) -> ByDocument:
    """Losses by document of the arm's scorer, the mean over its seeds; where an output is gone, the reason instead."""
    try:
        return _documents(arm, shop).mean
    except (Gone, ConfigError) as error:
        return ByDocument(why_not=str(error))


def _on_equal_bytes(
    arms: Sequence[Arm], shop: Workshop | str, per: Per
) -> tuple[list[Arm], list[ByDocument], tuple[str, ...]]:
    """The arms over the documents that all of them scored wholly, and what to say of it."""
    try:
        if isinstance(shop, str):
            raise Gone(shop)
        found = [_documents(arm, shop) for arm in arms]
    except (Gone, ConfigError) as error:
        sizes = " and ".join(f"{arm.name} {arm.text.bytes or 0:,}" for arm in arms)
        raise ResultsError(
            f"of the text {sizes} bytes were scored, so only losses of the documents that all scored wholly compare, "
            f"and these are not to be had: {error}"
        ) from None
    arms, common, notes = on_shared_documents(arms, found, per)
    return arms, [of_arm.mean for of_arm in common], notes


def _selected(
    arms: Sequence[Arm], fraction: float, shop: Workshop | str, per: Per
) -> tuple[list[Arm], list[ByDocument], tuple[str, ...]]:
    """The arms with the scorers that `selected` chooses, over the documents that none of them was chosen on."""
    if not 0 < fraction < 1:
        raise ConfigError(f"--select-on {fraction:g} is no share; give one between 0 and 1, e.g. 0.5")
    if named := next((arm for arm in arms if not arm.automatic), None):
        raise ConfigError(
            f"--select-on chooses the scorer of each run, and --scorer has named {named.scorer} of {named.name}; leave "
            "out one of the two"
        )
    if isinstance(shop, str):
        raise ConfigError(f"--select-on reads the outputs of the runs: {shop}")
    chosen = [selected(arm, fraction, shop) for arm in arms]
    arms, rests, notes = on_shared_documents([arm for arm, _, _ in chosen], [rest for _, rest, _ in chosen], per)
    others = [f"{int(rest.targets.sum()):,}" for rest in rests]
    of = [f"{count} of the others" if notes else f"the other {count}" for count in others]
    arms = [with_notes(arm, f"{said}; scores are of {one}") for arm, one, (_, _, said) in zip(arms, of, chosen)]
    return arms, [rest.mean for rest in rests], notes


def selected(arm: Arm, fraction: float, shop: Workshop) -> tuple[Arm, DocumentLosses, str]:
    """The arm with the best honest scorer of its grid on the first part of the text and its scores on the rest alone,
    its losses there, and what it was chosen from.

    fraction: the first part's share of the targets; it ends where a document does. Hedge mixtures, which have no losses
    by document, are not chosen. Raises ResultsError where an output of the run is gone, and for a text of too few
    documents to cut.
    """
    try:
        chosen, first_targets, losses_nats = _chosen(arm, fraction, shop)
        arm = replace(arm, result=chosen, late="")
        found = _documents(arm, shop)
    except (Gone, ConfigError) as error:
        raise ResultsError(f"{arm.name}: no scorer can be chosen on a part of the text: {error}") from None
    last = int(np.searchsorted(np.cumsum(found.targets), first_targets, side="left"))
    rest = found.of(found.numbers[last + 1 :])
    said = (
        f"{scorer_text(chosen)}: of {len(losses_nats):,} scorers the best on the first {first_targets:,} targets "
        f"({min(losses_nats):.5f} nats per token there)"
    )
    return replace(arm, by_seed=rest.scores), rest, said


def _chosen(arm: Arm, fraction: float, shop: Workshop) -> tuple[ScorerResult, int, list[float]]:
    """The best scorer on the first part, the targets of that part, and what each scorer lost there per target."""
    means: dict[tuple[Any, ...], list[float]] = {}
    first_targets = 0
    for seed in arm.seeds:
        mixed = mixed_of(arm.run_of(seed).key, seed, shop)
        config = mixed.config.model_copy(update={"hedges": ()})
        folder = _made(mixed, ByDocumentConfig(mix=config, parts=PARTS), seed, shop)
        (targets, _), losses = read_documents(folder), read_losses(folder)
        first = int(np.searchsorted(np.cumsum(targets), fraction * targets.sum(), side="right"))
        if not 0 < first < len(targets):
            raise ConfigError(
                f"--select-on {fraction:g} leaves no whole document on one side: the text has {len(targets)} parts of "
                "whole documents; choose another share, or validate on more documents"
            )
        first_targets = int(targets[:first].sum())
        for row in mixed.cells():
            if row["cell"] in losses and row["normalized"] and row["causal"]:
                means.setdefault(scorer_of(row), []).append(float(losses[row["cell"]][:first].sum()) / first_targets)
    everywhere = {scorer: sum(found) / len(found) for scorer, found in means.items() if len(found) == len(arm.seeds)}
    of_rows = {result.scorer: result for result in arm.grid}
    known = {scorer: loss for scorer, loss in everywhere.items() if scorer in of_rows}
    if not known:
        raise ConfigError("its seeds have no scorer in common that is a code length")
    return of_rows[min(known, key=known.__getitem__)], first_targets, list(known.values())


def _documents(arm: Arm, shop: Workshop) -> DocumentLosses:
    """Losses by document of the arm's scorer. Raises Gone, and ConfigError for a Hedge mixture."""
    by_seed = {}
    for seed in arm.seeds:
        mixed = mixed_of(arm.run_of(seed).key, seed, shop)
        cells = mixed.cells()
        row = next((row for row in cells if scorer_of(row) == arm.result.scorer), None)
        if row is None:
            raise Gone(f"the mix of seed {seed} has no scorer {scorer_text(arm.result)}; run it again")
        folder = _made(mixed, ByDocumentConfig(mix=single_scorer(mixed.config, _place(row, cells), row)), seed, shop)
        targets, sizes = read_documents(folder)
        by_seed[seed] = read_losses(folder)[row["cell"]]
    return DocumentLosses(
        by_seed=by_seed, targets=targets, bytes=sizes, numbers=np.arange(len(targets)), whole=read_whole(folder)
    )


def _place(row: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> int:
    """The place of a row among those of its estimator, which for Bayes mixtures is their place in the config."""
    return [own["cell"] for own in cells if own["estimator"] == row["estimator"]].index(row["cell"])


def _made(mixed: Mixed, config: ByDocumentConfig, seed: int, shop: Workshop) -> Path:
    """The folder of the losses, made now unless the store has them."""
    wanted = {"trace", "data"}
    if needs_counts(config.mix):
        wanted |= {role for role in mixed.inputs if role.startswith(COUNTS_ROLE)}
    if needs_hints(config.mix):
        wanted.add(HINTS_ROLE)
    parents = {role: artifact for role, artifact in mixed.inputs.items() if role in wanted}
    node = Node(
        name=f"{BY_DOCUMENT.name}[{seed}]",
        stage=BY_DOCUMENT,
        config=config,
        seed=seed,
        inputs={role: Link(role, tuple(mixed.mix.record.parents[role].outputs)) for role in parents},
    )
    artifact, _ = build_node(node, parents, shop.store, shop.memo, shop.run, shop.listener)
    return artifact.path
