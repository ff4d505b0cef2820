"""Read by every Airflow process at its start (a copy lies in `$AIRFLOW_HOME/config`).

In the scheduler only, it imports what tasks need: LocalExecutor forks its workers from the
scheduler, so that a task starts at once instead of importing for twenty seconds. Importing
neither initialises CUDA (which would not survive the fork) nor starts torch's threads.
facecore itself is not imported here: tasks then always run its newest code.

When the scheduler is killed, its workers and their tasks must not go on beside those of its
successor: the kernel is asked to end each with its parent.
"""

from __future__ import annotations

import os
import sys

if "scheduler" in sys.argv:
    import great_expectations  # noqa: F401
    import minio  # noqa: F401
    import mlflow  # noqa: F401
    import openvino  # noqa: F401
    import pandas as pd  # noqa: F401
    import psycopg2  # noqa: F401
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    if sys.platform == "linux":
        import ctypes
        import signal

        _libc = ctypes.CDLL(None, use_errno=True)
        _PR_SET_PDEATHSIG = 1
        _depth = 0

        def _die_with_parent() -> None:
            # 1: LocalExecutor's worker, 2: its task. What a task forks is its own business.
            global _depth  # noqa: PLW0603
            _depth += 1
            if _depth <= 2:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        os.register_at_fork(after_in_child=_die_with_parent)
