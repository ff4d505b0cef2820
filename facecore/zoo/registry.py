"""Every model by name: its task, licence and provenance, how to build it, how to load it.

Adding a model: write its module (an `nn.Module` under `@register_model`), name the module in
`_FAMILIES`, add a card under `zoo/cards`, and, if its weights are published elsewhere, an
entry in `weights.SOURCES` with a converter.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from facecore.errors import DigestMismatch, NotFound, WeightsError
from facecore.zoo import onnx_import, weights

_log = logging.getLogger(__name__)

Task = Literal["detect", "embed"]
Converter = Callable[[Sequence[onnx_import.Layer]], dict[str, npt.NDArray[np.float32]]]

_FAMILIES = ("facecore.zoo.yunet", "facecore.zoo.sface")
# Part of the converted file's name: a change of how weights are converted makes a new file.
_CONVERSION = 1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a model without loading it.

    Attributes:
        dimension: length of the embedding; None for other tasks.
        source_sha256: digest of the published file; None when the model is trained here.
        input: what the network takes, in words.
    """

    name: str
    task: Task
    licence: str
    paper: str
    input: str
    build: Callable[[], nn.Module]
    dimension: int | None = None
    convert: Converter | None = None

    @property
    def source_sha256(self) -> str | None:
        """Digest of the published weights this model starts from, if there are any."""
        source = weights.SOURCES.get(self.name)
        return source.sha256 if source else None

    @property
    def card(self) -> str:
        """The model card (Markdown): licence, provenance, limits."""
        return (Path(__file__).parent / "cards" / f"{self.name}.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class PreparedWeights:
    """Converted weights on disk. `sha256` is what `load` and the embedding contract refer to."""

    name: str
    path: Path
    sha256: str
    source_sha256: str


_SPECS: dict[str, ModelSpec] = {}
_Module = TypeVar("_Module", bound=type[nn.Module])


def register_model(
    name: str,
    *,
    task: Task,
    licence: str,
    paper: str,
    input: str,  # noqa: A002 (it is what the field is called)
    dimension: int | None = None,
    convert: Converter | None = None,
) -> Callable[[_Module], _Module]:
    """Class decorator: make an `nn.Module` with no constructor arguments known by `name`."""

    def register(module: _Module) -> _Module:
        if name in _SPECS:
            raise ValueError(f"model {name!r} is registered twice")
        _SPECS[name] = ModelSpec(name, task, licence, paper, input, module, dimension, convert)
        return module

    return register


def _all() -> Mapping[str, ModelSpec]:
    for family in _FAMILIES:
        importlib.import_module(family)
    return _SPECS


def list_models(task: Task | None = None) -> list[ModelSpec]:
    """All registered models, or those of one task, by name."""
    return sorted(
        (spec for spec in _all().values() if task in (None, spec.task)), key=lambda s: s.name
    )


def spec(name: str) -> ModelSpec:
    """What is known of model `name`.

    Raises:
        NotFound: it is not registered.
    """
    known = _all()
    if name not in known:
        raise NotFound("model", name, remedy=f"Known models: {', '.join(sorted(known))}.")
    return known[name]


def create(name: str) -> nn.Module:
    """A freshly initialised network (no weights loaded), in evaluation mode."""
    return spec(name).build().eval()


def prepare(name: str, cache: Path, model_dir: Path | None = None) -> PreparedWeights:
    """Fetch the published weights of `name` and convert them once to safetensors in `cache`.

    Raises:
        NotFound: no such model, or it has no published weights.
        WeightsError, DigestMismatch: see `weights.fetch` and `onnx_import.read_layers`.
    """
    from safetensors.numpy import save

    model = spec(name)
    if model.convert is None:
        raise NotFound("published weights", name, remedy="This model is trained, not fetched.")
    published = weights.SOURCES[name]
    target = cache / "weights" / f"{name}-{published.sha256[:12]}-v{_CONVERSION}.safetensors"
    record = target.with_suffix(".json")
    if target.is_file() and record.is_file():
        recorded = json.loads(record.read_text())["sha256"]
        if weights.sha256_of(target) == recorded:
            return PreparedWeights(name, target, recorded, published.sha256)
        _log.warning("%s is damaged; converting it again", target)
    state = model.convert(onnx_import.read_layers(weights.fetch(name, cache, model_dir)))
    weights.write_atomically(target, save(dict(sorted(state.items()))))
    digest = weights.sha256_of(target)
    content = {"sha256": digest, "source": published.filename, "source_sha256": published.sha256}
    weights.write_atomically(record, json.dumps(content, indent=1).encode())
    return PreparedWeights(name, target, digest, published.sha256)


def load(name: str, path: Path, sha256: str) -> nn.Module:
    """Network `name` with the weights of a safetensors file, for inference, on the CPU.

    Raises:
        NotFound: no such model.
        DigestMismatch: the file's SHA-256 is not `sha256`; nothing of it is used.
        WeightsError: the file is missing or does not hold this network's tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    network = create(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise DigestMismatch(str(path), sha256, actual)
    try:
        network.load_state_dict(parse(content))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold the weights of {name}: {error}") from error
    return network.requires_grad_(False)
