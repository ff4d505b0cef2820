"""Networks that were traced for OpenVINO and checked, kept on disk for the next process.

Tracing a network and holding its output against torch's takes longer than computing some
hundred faces, and each task of Airflow is a process of its own. What was checked once need not
be checked again, as long as nothing is different: weights, the code of the networks, the versions
of torch and OpenVINO, the processor. All of these are in the name under which a graph is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from facecore.zoo import weights

_log = logging.getLogger(__name__)

_KINDS = ("xml", "bin")  # OpenVINO's intermediate representation: layers, and what they weigh


@dataclass(frozen=True, slots=True)
class GraphStore:
    """The kept graphs of one weights file. Anybody who may write to `folder` is trusted.

    Attributes:
        folder: it need not exist.
        weights_sha256: of the file; it also stands for the network's name and options.
    """

    folder: Path
    weights_sha256: str

    def read(self, openvino: Any, form: Mapping[str, Any]) -> Any | None:
        """The graph that was written for `form`, or None. A damaged one is as good as none."""
        stem = self._stem(openvino, form)
        try:
            digests = json.loads(stem.with_suffix(".json").read_text("utf-8"))
            for kind in _KINDS:
                if weights.sha256_of(stem.with_suffix(f".{kind}")) != digests[kind]:
                    raise ValueError(f"its .{kind} was altered")
            return openvino.Core().read_model(stem.with_suffix(".xml"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            _log.warning("the kept graph %s cannot be used (%s); tracing anew", stem.name, error)
            return None

    def write(self, openvino: Any, form: Mapping[str, Any], graph: Any) -> Any:
        """Lay a graph down and take it up again: what every later process will compute with.

        Its last bits differ from those of the graph before. It counts only once `confirm` was
        called. Where it cannot be written, `graph` itself is returned.
        """
        stem = self._stem(openvino, form)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                made = Path(scratch) / "graph.xml"
                openvino.save_model(graph, made, compress_to_fp16=False)
                for kind in _KINDS:
                    made.with_suffix(f".{kind}").replace(stem.with_suffix(f".{kind}"))
            return openvino.Core().read_model(stem.with_suffix(".xml"))
        except (OSError, RuntimeError) as error:
            _log.warning("the traced network could not be kept in %s: %s", self.folder, error)
            return graph

    def confirm(self, openvino: Any, form: Mapping[str, Any]) -> None:
        """The graph that `write` laid down was checked: later processes may use it."""
        stem = self._stem(openvino, form)
        try:
            digests = {kind: weights.sha256_of(stem.with_suffix(f".{kind}")) for kind in _KINDS}
            weights.write_atomically(stem.with_suffix(".json"), json.dumps(digests).encode())
        except OSError as error:
            _log.warning("the traced network could not be kept in %s: %s", self.folder, error)

    def _stem(self, openvino: Any, form: Mapping[str, Any]) -> Path:
        facts = {"weights": self.weights_sha256, **form, **_surroundings(openvino)}
        text = json.dumps(facts, sort_keys=True, default=str)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _surroundings(openvino: Any) -> Mapping[str, Any]:
    """What the check of a graph holds for, besides the network: code, versions, processor."""
    code = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        code.update(source.read_bytes())
    core = openvino.Core()
    return {
        "code": code.hexdigest(),
        "torch": torch.__version__,
        "openvino": openvino.__version__,
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    }
