"""The LSTM beside seasonal naive, weekly mean and Holt-Winters; planted faults found, false alarms.

    python benchmarks/forecast.py [--weeks 16] [--staff 40 150] [--seeds 3] [--epochs 6]
                                  [--threads 1] [--json OUT]

For each size of staff and seed, months of hourly counts of the sample cameras are made
(`facecore.samples.history`). All but the last four weeks train the LSTM, the next two choose the
epoch and conformalise its intervals, the last two judge: every method forecasts each day from
the midnight before it, and only from what came before. Then the same weeks with the three planted
faults are flagged by the method that was chosen.

Reported: MASE (scaled by "as a week ago" in the history), coverage of 90 % intervals, pinball
loss; which method the platform would use; visits: the same for people's next gap; faults found of
those planted, and flags where nothing was planted, per camera and week.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from facecore.analytics.forecasting import methods, selection, visits
from facecore.analytics.forecasting.flags import Flag, flags, masked
from facecore.lifecycle.datasets.activity import ActivitySeries
from facecore.lifecycle.training.forecaster import ForecasterTraining
from facecore.lifecycle.training.plan import make_plan
from facecore.lifecycle.training.windows import ActivityWindows
from facecore.samples.history import History, hourly_history
from facecore.types import HourlyCounts, Visits
from facecore.zoo import registry
from facecore.zoo.device import use_threads
from facecore.zoo.lstm import ActivityLstm

_LAST = date(2026, 11, 22)
_JUDGED, _CHOSEN = 14, 14  # days
_FLAGGED = 28
_EPOCH = datetime(1970, 1, 1)


def part(history: History, first: float, last: float) -> list[ActivitySeries]:
    """The hours `[first, last)` of a history, as a snapshot would split it."""
    start = history.series[0].start
    found = [
        ActivitySeries("counts", s.source, s.counts, s.start, int(first), int(last))
        for s in history.series
    ]
    base = (start - _EPOCH).total_seconds() / 3600
    for person in history.visits:
        at = np.array([(t - _EPOCH).total_seconds() / 3600 for t in person.at])
        low, high = (int(np.searchsorted(at[1:], base + bound)) for bound in (first, last))
        if high > low and len(at) >= 4:
            found.append(ActivitySeries("visits", person.person, at, start, low, high))
    return found


def train(history: History, hours: int, epochs: int, seed: int) -> tuple[ActivityLstm, float]:
    """The platform's own loop and calibration, without stores; returns network and seconds."""
    from lightning.pytorch import Trainer, seed_everything

    from facecore.lifecycle.training.preparation import Batches

    plan = make_plan(
        {
            "model": "lstm",
            "goals": "forecast",
            "dataset": "memory",
            "epochs": epochs,
            "batches_per_epoch": 100,
            "seed": seed,
            "learning_rate": 3e-3,
            "weight_decay": 1e-2,
            "device": "cpu",
        }
    )
    seed_everything(seed, verbose=False)
    middle, end = hours - 24 * (_JUDGED + _CHOSEN), hours - 24 * _JUDGED
    seen = ActivityWindows(part(history, 0, middle), 24, stride=1, blank=True)
    kept = ActivityWindows(part(history, middle, end), 24, stride=24)
    module = ForecasterTraining(plan, registry.create("lstm"), seen, kept)
    began = time.perf_counter()
    Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        gradient_clip_val=plan.gradient_clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    ).fit(module, Batches(plan, seen, kept))
    module.finished()
    assert isinstance(module.network, ActivityLstm)
    return module.network.eval(), time.perf_counter() - began


def flagged(series: HourlyCounts, method: methods.Method) -> list[Flag]:
    """Flags of the last four weeks, as the platform finds them."""
    starts = selection.origins(series, _FLAGGED, len(series))

    def once(history: HourlyCounts, how: methods.Method) -> list[Flag]:
        said = np.concatenate([how(history, o, 24) for o in starts])
        return flags(series, starts[0], said)

    clean = masked(series, once(series, methods.weekly_mean))
    return once(clean, method)


def overlapping(flag: Flag, history: History) -> bool:
    """Whether a fault of that kind was planted there."""
    return any(
        (fault.kind, fault.source) == (flag.kind, flag.source)
        and flag.start < fault.end
        and fault.start < flag.end
        for fault in history.faults
    )


def run(weeks: int, staff: int, seed: int, epochs: int) -> dict[str, Any]:
    """One history."""
    plain = hourly_history(_LAST, weeks, seed=seed, staff=staff, faults=False)
    hours = len(plain.series[0])
    network, seconds = train(plain, hours, epochs, seed)
    learned = methods.lstm(network)
    choice = selection.select(plain.series, learned, days=_JUDGED)
    end = plain.series[0].at(hours)
    gaps = visits.select_gap_method(_until(plain.visits, end), visits.lstm(network))
    faulty = hourly_history(_LAST, weeks, seed=seed, staff=staff)
    method = learned if choice.learned else methods.BASELINES[choice.method]
    found = [flag for series in faulty.series for flag in flagged(series, method)]
    hit = [
        fault.kind
        for fault in faulty.faults
        if any(
            (flag.kind, flag.source) == (fault.kind, fault.source)
            and flag.start < fault.end
            and fault.start < flag.end
            for flag in found
        )
    ]
    false = [flag for flag in found if not overlapping(flag, faulty)]
    return {
        "staff": staff,
        "seed": seed,
        "train_s": seconds,
        "used": choice.method,
        "reason": choice.reason,
        "scores": [asdict(score) for score in choice.scores],
        "gaps_used": gaps.method,
        "gap_scores": [asdict(score) for score in gaps.scores],
        "planted": [fault.kind for fault in faulty.faults],
        "found": hit,
        "false_alarms": [flag.to_json() for flag in false],
        "camera_weeks": len(faulty.series) * _FLAGGED / 7,
    }


def _until(people: Sequence[Visits], end: datetime) -> list[Visits]:
    return [Visits(p.person, tuple(t for t in p.at if t < end)) for p in people]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weeks", type=int, default=16)
    parser.add_argument("--staff", type=int, nargs="+", default=[40, 150])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    use_threads(args.threads)
    results = []
    for staff in args.staff:
        for seed in range(args.seeds):
            one = run(args.weeks, staff, seed, args.epochs)
            results.append(one)
            print(f"staff {staff}, seed {seed}: trained in {one['train_s']:.0f} s")
            for what, scores in (("hours", one["scores"]), ("gaps", one["gap_scores"])):
                for score in scores:
                    print(
                        f"  {what:5} {score['method']:22} MASE {score['mase']:.3f}  "
                        f"coverage {score['coverage']:.3f}  pinball {score['pinball']:.3f}"
                    )
            print(f"  used: {one['used']} ({one['reason']})")
            print(
                f"  faults found {len(one['found'])} of {len(one['planted'])}, false alarms "
                f"{len(one['false_alarms'])} in {one['camera_weeks']:.0f} camera weeks",
                flush=True,
            )
    found, planted = (sum(len(r[key]) for r in results) for key in ("found", "planted"))
    false = sum(len(r["false_alarms"]) for r in results)
    weeks = sum(r["camera_weeks"] for r in results)
    wins = sum(r["used"] == "LSTM" for r in results)
    print(f"all: LSTM used in {wins} of {len(results)}; faults {found} of {planted}; ", end="")
    print(f"false alarms {false} in {weeks:.0f} camera weeks")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
