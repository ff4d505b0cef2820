"""Bringing a version into use, and back.

The registry's alias says what is wanted, the catalogue what is in use. A promotion moves the
second to the first: planned → filling → filled → indexed → compared → active. Nobody notices it
before the switch, which is one transaction; what was in use is kept, so that a rollback is one
transaction too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from facecore.errors import NotFound, PromotionRefused, UsageError
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models import analysis_models, model_aliases, promotion_log
from facecore.jobs.models.model_versions import Candidate, candidate, make_known
from facecore.jobs.promotion import reembed, shadow, switching
from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import active, alias_decisions, models, promotions
from facecore.stores.catalog.models.promotions import Origin, Promotion
from facecore.stores.catalog.work import coverage

logger = logging.getLogger(__name__)

PROMOTE, ROLL_BACK = "promote", "roll back"


def begin(
    context: RunContext, action: str, *, actor: str, reason: str, stores: Stores | None = None
) -> int | None:
    """The promotion that a run of reembed_faces works on, or None where there is nothing to do.

    Args:
        action: `PROMOTE` follows the alias (see `start`), `ROLL_BACK` first puts the pair
            before into use.

    Raises:
        UsageError: another action, or a rollback without a reason.
    """
    if action == PROMOTE:
        return start(context, actor=actor, reason=reason, stores=stores)
    if action != ROLL_BACK:
        raise UsageError(f"the action {action!r} is none of {PROMOTE!r}, {ROLL_BACK!r}.")
    if not reason.strip():
        raise UsageError("a rollback needs a reason.", remedy="Fill in *Reason*.")
    return switching.rollback(context, actor=actor, reason=reason, stores=stores)


def promote(
    name: str,
    version: int,
    *,
    actor: str,
    reason: str,
    origin: Origin = "command",
    details: Mapping[str, Any] | None = None,
    stores: Stores | None = None,
) -> int:
    """Want a version: open its promotion and point the aliases at it; returns the promotion.

    Nothing changes for anybody yet; `start` and what follows does the work.

    Raises:
        NotFound: there is no such version.
        PromotionRefused: it may not come into use, or is in use already.
        ChangeRefused: another promotion is under way.
    """
    stores = stores or Stores()
    try:
        found = candidate(stores, name, version)
    except PromotionRefused as refused:
        with stores.catalog.transaction() as tx:
            promotion_log.refusal(tx, refused, actor, reason)
        raise
    with stores.catalog.transaction() as tx:
        promotion = _request(stores, tx, found, origin, actor, reason, details or {})
    model_aliases.write(stores)
    return promotion.id


def start(
    context: RunContext, *, actor: str, reason: str = "", stores: Stores | None = None
) -> int | None:
    """What has to be done so that what is wanted is in use: a promotion's id, or None.

    Models that need no re-embedding come into use at once where their alias was set in the
    registry. Then it goes on with the open promotion, opens one for an alias that was set, or
    finds images that the pair in use lacks (after a rollback). An open promotion that the alias
    no longer names is abandoned.

    Raises:
        PromotionRefused: the alias names a version that may not come into use; what is in use
            stays.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "promotion.start") as run:
        model_aliases.write(stores)
        run.models = analysis_models.follow_aliases(stores, actor=actor)
        embedder, alias = stores.settings.mlflow.embedder, stores.settings.mlflow.alias
        with stores.catalog.transaction() as tx:
            decided = alias_decisions.find(tx, embedder, alias)
        wanted = model_aliases.wanted(stores, embedder)
        with stores.catalog.transaction() as tx:
            promotions.serialise(tx)
            pair, opened = active.current(tx), promotions.find_open(tx)
            meanwhile = alias_decisions.find(tx, embedder, alias)
            if meanwhile is not None and meanwhile != decided:  # by a rollback, say
                wanted = meanwhile.version
            if opened is not None:
                target = models.get(tx, opened.to_embedder_id)
                if wanted == target.version:
                    run.counts = {"promotion": opened.id}
                    return opened.id
                promotion_log.abandoned(tx, opened, actor, f"the alias names version {wanted} now")
        _refuse_detector_alias(stores, pair)
        if wanted is None or wanted == pair.embedder.version:
            catching_up = _to_catch_up(stores)
            run.counts = {"promotion": catching_up}
            return catching_up
        promotion_id = _follow_alias(stores, wanted, actor, reason)
        run.counts = {"promotion": promotion_id}
    return promotion_id


def abandon(*, actor: str, reason: str, stores: Stores | None = None) -> int:
    """Give up the open promotion and point the aliases back; returns its id.

    Raises:
        NotFound: none is open.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        promotions.serialise(tx)
        opened = promotions.find_open(tx)
        if opened is None:
            raise NotFound("open promotion", "now")
        promotion_log.abandoned(tx, opened, actor, reason)
        model_aliases.decide(stores, tx, champion=opened.source, previous=None)
    model_aliases.write(stores)
    return opened.id


def _request(
    stores: Stores,
    tx: Transaction,
    found: Candidate,
    origin: Origin,
    actor: str,
    reason: str,
    details: Mapping[str, Any],
) -> Promotion:
    # Neither a rollback nor a switch comes between what is in use and the promotion from it.
    promotions.serialise(tx)
    pair = active.hold(tx)
    detector_id, embedder_id = make_known(tx, found)
    if embedder_id == pair.embedder.id:
        raise PromotionRefused(
            found.subject, f"{found.subject} is in use already.", failed=("in use",)
        )
    known = promotions.find_open(tx)
    promotion = promotions.request(
        tx, pair, detector_id, embedder_id, origin=origin, actor=actor, reason=reason
    )
    model_aliases.decide(stores, tx, champion=promotion.target, previous=promotion.source)
    if known is None or details:
        promotion_log.note(tx, promotion, actor, "planned", reason, {"origin": origin, **details})
    return promotion


def _follow_alias(stores: Stores, wanted: int, actor: str, reason: str) -> int:
    """Open the promotion of a version that somebody's hand set the alias to."""
    name, alias = stores.settings.mlflow.embedder, stores.settings.mlflow.alias
    # MLflow does not say who set an alias.
    reason = reason or f"the alias {alias} was set to version {wanted} in the registry"
    try:
        found = candidate(stores, name, wanted)
        with stores.catalog.transaction() as tx:
            promotion = _request(stores, tx, found, "alias", actor, reason, {})
            alias_decisions.decide(tx, name, alias, wanted, written=True)
    except PromotionRefused as refused:
        with stores.catalog.transaction() as tx:
            promotion_log.refusal(tx, refused, actor, reason)
            alias_decisions.decide(tx, name, alias, wanted, written=True)
        raise
    model_aliases.write(stores)
    return promotion.id


def _refuse_detector_alias(stores: Stores, pair: active.Active) -> None:
    """A detector's alias that was set by hand promotes nothing; say so once."""
    name, alias = stores.settings.mlflow.detector, stores.settings.mlflow.alias
    wanted = model_aliases.wanted(stores, name)
    if wanted is None or wanted == pair.detector.version:
        return
    with stores.catalog.transaction() as tx:
        decision = alias_decisions.find(tx, name, alias)
        if decision is not None and decision.version == wanted:
            return
        refused = PromotionRefused(
            f"{name}/{wanted}",
            f"a detector comes into use with an embedder that is paired with it; {name}@{alias} "
            f"alone changes nothing, version {pair.detector.version} stays in use.",
            failed=("not an embedder",),
        )
        promotion_log.refusal(tx, refused, "registry alias", "")
        alias_decisions.decide(tx, name, alias, wanted, written=True)
    logger.warning("%s", refused)


def _to_catch_up(stores: Stores) -> int | None:
    """The promotion by which the pair in use gets images that it lacks, if it lacks some.

    That need not be the newest: a rollback gives up the one under way, or goes further back.
    """
    with stores.catalog.transaction() as tx:
        for promotion in promotions.into(tx, active.current(tx).ids):
            if coverage.count_missing(tx, promotion):
                return promotion.id
    return None


def describe(promotion_id: int, stores: Stores | None = None) -> dict[str, Any]:
    """A promotion's versions and state, for the event that starts the work."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        found = promotions.get(tx, promotion_id)
        versions = [models.get(tx, version_id) for version_id in found.target]
    return {
        "promotion": promotion_id,
        "state": found.state,
        "models": [promotion_log.name_of(version) for version in versions],
    }


def carry_out(
    context: RunContext,
    promotion_id: int,
    stores: Stores | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Any]:
    """All tasks of reembed_faces here, one after the other; returns what is in use at the end.

    Goes on where an earlier call, or a DAG run, was interrupted.
    """
    stores = stores or Stores()
    shard_ids = reembed.plan(context, promotion_id, stores)
    steps = 2 * len(shard_ids) + 1
    for number, shard_id in enumerate(shard_ids):
        part = replace(context, map_index=number)
        reembed.fill_shard(part, promotion_id, shard_id, stores)
        on_progress(number + 1, steps)
    reembed.build_index(context, promotion_id, stores)
    for number, shard_id in enumerate(shard_ids):
        reembed.stage_shard(replace(context, map_index=number), promotion_id, shard_id, stores)
        on_progress(len(shard_ids) + number + 1, steps)
    comparison = shadow.compare(context, promotion_id, stores)
    in_use = switching.switch(context, promotion_id, stores)
    on_progress(steps, steps)
    return {**in_use, "comparison": comparison}
