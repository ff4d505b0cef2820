"""Every model by name: its task, licence and provenance, how to build it, how to load it.

Adding a model: write its module (an `nn.Module` under `@register_model`), name the module in
`_FAMILIES`, add a card under `zoo/cards`, and, if its weights are published elsewhere, an
entry in `weights.SOURCES` with a converter.

A model's options are the keyword arguments of its constructor, each with a default. They
travel in the weights file (`save`), so that `load` builds the same network again.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from facecore.errors import ConfigError, DigestMismatch, NotFound, WeightsError
from facecore.zoo import model_file, onnx_import, weights

_log = logging.getLogger(__name__)

Task = Literal["detect", "embed", "match", "reconstruct", "forecast"]
Converter = Callable[[Sequence[onnx_import.Layer]], dict[str, npt.NDArray[np.float32]]]

_FAMILIES = (
    "facecore.zoo.yunet",
    "facecore.zoo.sface",
    "facecore.zoo.ssd",
    "facecore.zoo.faster_rcnn",
    "facecore.zoo.rcnn",
    "facecore.zoo.cnn",
    "facecore.zoo.vgg",
    "facecore.zoo.facenet",
    "facecore.zoo.deepface",
    "facecore.zoo.siamese",
    "facecore.zoo.autoencoder",
    "facecore.zoo.lstm",
)
# Part of the converted file's name: a change of how weights are converted makes a new file.
_CONVERSION = 1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a model without loading it.

    Attributes:
        dimension: length of the embedding with default options (see `network_dimension`);
            None for other tasks.
        input: what the network takes, in words.
    """

    name: str
    task: Task
    licence: str
    paper: str
    input: str
    build: Callable[..., nn.Module]
    dimension: int | None = None
    convert: Converter | None = None

    @property
    def source_sha256(self) -> str | None:
        """Digest of the published weights this model starts from, if there are any."""
        source = weights.SOURCES.get(self.name)
        return source.sha256 if source else None

    @property
    def options(self) -> dict[str, Any]:
        """Every option and its default, in the constructor's order."""
        parameters = inspect.signature(self.build).parameters
        return {name: parameter.default for name, parameter in parameters.items()}

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of this model: those given, the rest by default.

        Raises:
            ConfigError: an option that this model does not have, or a value of another type.
        """
        defaults = self.options
        for name, value in options.items():
            valid = ", ".join(f"{known}={default!r}" for known, default in defaults.items())
            remedy = f"Options and defaults: {valid or 'none'}."
            if name not in defaults:
                raise ConfigError(f"model {self.name!r} has no option {name!r}.", remedy=remedy)
            if not _is_like(value, defaults[name]):
                raise ConfigError(
                    f"option {name} of model {self.name!r} cannot be {value!r}.", remedy=remedy
                )
        given = {  # a tuple that travelled as JSON is a tuple again
            name: tuple(value) if isinstance(defaults[name], tuple) else value
            for name, value in options.items()
        }
        return {**defaults, **given}

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
    """Class decorator: make an `nn.Module` known by `name`.

    Its constructor's arguments are the model's options: keywords with defaults, of types that
    JSON knows. An embedder has an attribute `dimension`.
    """

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


def create(name: str, **options: Any) -> nn.Module:
    """A freshly initialised network (no weights loaded), in evaluation mode.

    Args:
        options: see `ModelSpec.options`; those left out have their defaults.

    Raises:
        NotFound: no such model.
        ConfigError: an option that the model does not have, or a value it cannot have.
    """
    model = spec(name)
    return model.build(**model.complete(options)).eval()


def network_dimension(network: nn.Module) -> int:
    """Length of the vectors that an embedder makes.

    Raises:
        ConfigError: the network is not an embedder.
    """
    dimension = getattr(network, "dimension", None)
    if not isinstance(dimension, int):
        raise ConfigError(f"{type(network).__name__} is not an embedder: it has no dimension.")
    return dimension


def save(name: str, network: nn.Module, path: Path, **options: Any) -> str:
    """Write the weights of `network` as safetensors, with its name and all its options.

    Args:
        network: what `create(name, **options)` makes, with any weights, on any device.

    Returns:
        SHA-256 (hex) of the file; the same weights and options always give the same.

    Raises:
        NotFound, ConfigError: as `create`; or `network` is not what these options make.
        WeightsError: a tensor holds NaN or infinity.
    """
    complete = spec(name).complete(options)
    expected = _fresh(name, complete).state_dict()
    state = network.state_dict()
    wrong = sorted(
        key
        for key in expected.keys() | state.keys()
        if key not in expected or key not in state or expected[key].shape != state[key].shape
    )
    if wrong:
        raise ConfigError(
            f"this network is not {name!r} with options {complete}: {', '.join(wrong[:3])} differ.",
            remedy="Save a network with the options that it was created with.",
        )
    same_types = {key: state[key].to(tensor.dtype) for key, tensor in expected.items()}
    content = model_file.encode(same_types, name, complete)
    weights.write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def described(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Model name and options that a weights file states: (None, {}) where it states none.

    Raises:
        WeightsError: the file cannot be read or is not safetensors.
    """
    return model_file.read_description(path)


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

    It is built with the options that the file states, or the defaults where it states none.

    Raises:
        NotFound: no such model.
        DigestMismatch: the file's SHA-256 is not `sha256`; nothing of it is used.
        WeightsError: the file is missing or does not hold this network's tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    spec(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise DigestMismatch(str(path), sha256, actual)
    stated, options = model_file.description(content, str(path))
    refusal = f"{path} does not hold the weights of {name}"
    if stated not in (None, name):
        raise WeightsError(f"{refusal}, but of {stated}.")
    try:
        network = _fresh(name, options)
        network.load_state_dict(parse(content))
    except (ConfigError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{refusal}: {error}") from error
    return network.requires_grad_(False)


def _fresh(name: str, options: Mapping[str, Any]) -> nn.Module:
    """`create`, but the process draws the same random numbers afterwards as without it."""
    with torch.random.fork_rng(devices=[]):
        return create(name, **options)


def _is_like(value: object, default: object) -> bool:
    """Whether an option can take `value`, judged by the type of its default."""
    match default:
        case None:
            return True  # the constructor judges
        case bool():
            return isinstance(value, bool)
        case int():
            return isinstance(value, int) and not isinstance(value, bool)
        case float():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case tuple() | list():
            return isinstance(value, tuple | list) and all(
                _is_like(item, default[0]) for item in value if default
            )
        case _:
            return isinstance(value, type(default))
