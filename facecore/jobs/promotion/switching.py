"""The switch to a promoted version, and back: one transaction each.

What is in use is kept when it is replaced. Searches go on all the while; writers wait for the
switch, which has only the last few images left to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from facecore.errors import ChangeRefused, NotFound, PromotionRefused
from facecore.jobs.faces.identify import identify_everything
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models import model_aliases, promotion_log
from facecore.jobs.promotion import carried_people, reembed
from facecore.jobs.stores import Stores
from facecore.stores.catalog.models import active, counterparts, models, promotions
from facecore.stores.catalog.models.promotions import Promotion
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import coverage

logger = logging.getLogger(__name__)

# Images that arrive while the switch is prepared are filled before it; so many, or fewer, are
# filled inside it, while writers wait for seconds.
LATE_IMAGES = 64
ROUNDS = 5


def switch(context: RunContext, promotion_id: int, stores: Stores | None = None) -> dict[str, Any]:
    """Bring a compared promotion into use, at once; then the aliases. Returns what is in use.

    What arrived since the fill is caught up first, the last of it inside the switch. Done
    already, only what is left over is done.

    Raises:
        ChangeRefused: the promotion was not compared yet, or is not open.
        PromotionRefused: the alias names another version by now.
    """
    stores = stores or Stores()
    params = {"promotion": promotion_id}
    with recorded(stores.catalog, context, "promotion.switch", params) as run:
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id)
        if promotion.is_open:
            _require_compared(promotion)
            _require_wanted(stores, promotion)
            for round_number in range(1, ROUNDS + 1):
                _prepare(stores, run.id, promotion_id)
                if _switch(stores, run.id, promotion_id, insist=round_number == ROUNDS):
                    break
        else:
            run.counts = {"images": reembed.catch_up(stores, run.id, promotion_id)}
            run.counts["carried"] = carried_people.carry_in_parts(stores, run.id, promotion)
            if promotion.state == "rolled_back":
                # People enrolled under the version that was left are in this gallery since now.
                run.counts |= identify_everything(context, stores)
        model_aliases.write(stores)
        with stores.catalog.transaction() as tx:
            pair = active.current(tx)
        run.models = {
            "detect": promotion_log.name_of(pair.detector),
            "embed": promotion_log.name_of(pair.embedder),
        }
    return {"promotion": promotion_id, **run.models}


def rollback(context: RunContext, *, actor: str, reason: str, stores: Stores | None = None) -> int:
    """Put back into use what the newest promotion replaced, at once; returns that promotion.

    What humans said meanwhile is carried back. Images that arrived meanwhile are caught up
    by `catch_up` (or `start` and the tasks after it).

    Raises:
        NotFound: there is nothing to roll back to.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "promotion.rollback", {"reason": reason}) as run:
        with stores.catalog.transaction() as tx:
            promotions.serialise(tx)
            done = promotion_log.rollback_of(tx, context.dag_run_id)
            if done is not None:
                return done  # this task was done before; it must not go back further
            opened = promotions.find_open(tx)
            if opened is not None:
                promotion_log.abandoned(tx, opened, actor, f"rolled back: {reason}")
            found = promotions.find_active(tx)
            if found is None:
                raise NotFound(
                    "promotion to roll back",
                    "the first version",
                    remedy="Only a version that came into use by a promotion has one before it.",
                )
            active.freeze(tx)
            promotions.advance(tx, found.id, "rolled_back")
            back = promotions.get(tx, found.id, "mine")
            if back.new_detector:
                counterparts.carry_human_words(tx, back.source[0], back.target[0], overwrite=True)
            before = promotions.before(tx, back)
            if before is not None:
                promotions.advance(tx, before.id, "active")
            active.switch(tx, *back.target)
            model_aliases.decide(stores, tx, champion=back.target, previous=back.source)
            details = {"dag_run": context.dag_run_id}
            promotion_log.note(tx, back, actor, "rolled_back", reason, details)
        model_aliases.write_if_possible(stores)
        run.counts = {"promotion": back.id}
    return back.id


def catch_up(
    context: RunContext,
    promotion_id: int,
    stores: Stores | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Give the pair in use what arrived while another was; returns how many images."""
    stores = stores or Stores()
    params = {"promotion": promotion_id}
    with recorded(stores.catalog, context, "promotion.catch_up", params) as run:
        images = reembed.catch_up(stores, run.id, promotion_id, on_progress)
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id)
        carried_people.carry_in_parts(stores, run.id, promotion)
        run.counts = {"images": images, **identify_everything(context, stores)}
    return images


def _require_compared(promotion: Promotion) -> None:
    if promotion.state != "compared":
        raise ChangeRefused(
            f"promotion {promotion.id} is {promotion.state}; it is switched to after its "
            "comparison.",
            rule="promotion_compared",
            remedy="Trigger reembed_faces, which does what is missing.",
        )


def _require_wanted(stores: Stores, promotion: Promotion) -> None:
    model_aliases.write(stores)
    wanted = model_aliases.wanted(stores, stores.settings.mlflow.embedder)
    with stores.catalog.transaction() as tx:
        target = models.get(tx, promotion.to_embedder_id)
        if wanted == target.version:
            return
        why = f"the alias names version {wanted} by now"
        promotion_log.abandoned(tx, promotion, "reembed_faces", why)
    raise PromotionRefused(
        promotion_log.name_of(target),
        f"{promotion_log.name_of(target)} does not come into use: {why}.",
        failed=("alias",),
        remedy="Trigger reembed_faces again to follow the alias.",
    )


def _prepare(stores: Stores, run_id: str, promotion_id: int) -> None:
    """Fill what arrived, and compare all faces again where the gallery changed."""
    reembed.catch_up(stores, run_id, promotion_id)
    with stores.catalog.transaction() as tx:
        changed = people.gallery_fingerprint(tx) != promotions.get(tx, promotion_id).gallery
    if changed:
        gallery = reembed.stage_everything(stores, run_id, promotion_id)
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id, "mine")
            promotions.advance(tx, promotion_id, promotion.state, gallery=gallery)
    with stores.catalog.transaction() as tx:
        promotion = promotions.get(tx, promotion_id)
    carried_people.carry_in_parts(stores, run_id, promotion)


def _switch(stores: Stores, run_id: str, promotion_id: int, *, insist: bool) -> bool:
    """The one transaction; False when so much is new that it has to be prepared again."""
    with stores.catalog.transaction() as tx:
        promotion = promotions.get(tx, promotion_id, "mine")
        if promotion.state == "active":
            return True  # by a twin of this task
        _require_compared(promotion)
        # From here on nobody writes faces or names; searches go on.
        active.freeze(tx)
        late = coverage.missing(tx, promotion, LATE_IMAGES + 1)
        changed = people.gallery_fingerprint(tx) != promotion.gallery
        if not insist and (changed or len(late) > LATE_IMAGES):
            return False
        while late:
            reembed.fill_and_stage(stores, tx, run_id, promotion_id, late)
            late = coverage.missing(tx, promotion, LATE_IMAGES)
        reembed.carry(tx, promotion)
        carried_people.carry(tx, run_id, promotion)
        replaced = promotions.find_active(tx)
        if replaced is not None:
            promotions.advance(tx, replaced.id, "superseded")
        active.switch(tx, *promotion.target)
        promotions.advance(tx, promotion_id, "active")
        model_aliases.decide(stores, tx, champion=promotion.target, previous=promotion.source)
        promotion_log.note(tx, promotion, promotion.actor, "active", promotion.reason)
    return True
