"""Retry, time-out and pool presets, each with its reason. A task picks one with `**PRESET`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from facecore import errors

OWNER = "face-platform"
GPU_POOL = "gpu"

# A retry cannot help when a person has to change something first: a setting, a password, a
# broken batch, wrong weights. The errors themselves say so. Everything else (a store that is
# down, a killed worker, a defect) is tried again.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=f"{errors.__name__}.{name}",
            action=RetryAction.FAIL,
            reason="trying again cannot help until somebody changes something",
            match_subclasses=False,  # a kind below may be retryable, and has its own say
        )
        for name, kind in sorted(vars(errors).items())
        if isinstance(kind, type) and issubclass(kind, errors.FacecoreError) and not kind.retryable
    ]
)

DAG_DEFAULTS: dict[str, Any] = {
    "owner": OWNER,
    # Three tries over some minutes ride out a restart of a database or of the object store.
    "retries": 3,
    "retry_delay": timedelta(seconds=15),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "retry_policy": RETRY_POLICY,
}

# Listing and planning touch metadata only; longer than this means a store hangs.
PLANNING: dict[str, Any] = {"execution_timeout": timedelta(minutes=10), "priority_weight": 10}

# 512 images are fetched, hashed, decoded and measured in about ten seconds; an hour leaves room
# for a slow remote bucket and for shards of 10,000.
SHARD_IO: dict[str, Any] = {"execution_timeout": timedelta(hours=1), "priority_weight": 5}

# Device work: one slot per device in the pool `gpu`, so that two shards never share its memory;
# the queue of the same name leads to workers that have a device (executors with queues only).
SHARD_DEVICE: dict[str, Any] = {
    "execution_timeout": timedelta(hours=2),
    "pool": GPU_POOL,
    "queue": GPU_POOL,
    "priority_weight": 8,
}

# Training takes hours and continues after its last epoch when it is tried again; a day means that
# something hangs, or that a run should have been planned smaller. It yields the device to
# extraction whenever both wait for it.
TRAINING: dict[str, Any] = {
    "execution_timeout": timedelta(days=1),
    "pool": GPU_POOL,
    "queue": GPU_POOL,
    "priority_weight": 2,
}

# Matching reads vectors and the gallery; it needs no device slot of its own.
SHARD_MATCH: dict[str, Any] = {"execution_timeout": timedelta(minutes=30), "priority_weight": 6}

# New faces take seconds; a full pass over millions of faces is a product of all with all, on the
# device. One pass runs at a time, and whoever waits for it is tried again.
CLUSTERING: dict[str, Any] = {
    "execution_timeout": timedelta(hours=12),
    "pool": GPU_POOL,
    "queue": GPU_POOL,
    "priority_weight": 3,
}

# A report aggregates in the database; only its rendering happens here.
REPORTING: dict[str, Any] = {"execution_timeout": timedelta(minutes=30), "priority_weight": 1}

# Two models are evaluated on a snapshot and timed beside each other: nothing else may use the
# device meanwhile, or the times would say nothing.
JUDGING: dict[str, Any] = {
    "execution_timeout": timedelta(hours=6),
    "pool": GPU_POOL,
    "queue": GPU_POOL,
    "priority_weight": 4,
}

# A person is asked during a working week; who has not answered by then has not approved.
REVIEW_TIME = timedelta(days=7)

# The index of tens of millions of vectors takes hours, once.
INDEXING: dict[str, Any] = {"execution_timeout": timedelta(hours=12), "priority_weight": 7}

# Catching up and switching embed the last images themselves, on the device.
SWITCHING: dict[str, Any] = {
    "execution_timeout": timedelta(hours=6),
    "pool": GPU_POOL,
    "queue": GPU_POOL,
    "priority_weight": 9,
}
