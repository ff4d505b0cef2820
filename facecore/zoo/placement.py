"""Networks made ready for inference on one device."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvReLU(nn.Conv2d):
    """A convolution and its ReLU, which some devices compute in one go."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


def place(
    network: nn.Module, device: torch.device, dtype: torch.dtype, example: Sequence[int]
) -> nn.Module:
    """A copy of `network` on `device` in `dtype`, laid out for speed; only for inference.

    Everywhere weights become channels_last, and inside an `nn.Sequential` a BatchNorm that
    follows a convolution is folded into it (before weights are rounded to `dtype`). On a CPU
    with oneDNN, convolutions also keep their weights in oneDNN's own blocked layout and compute
    a following ReLU in the same pass; otherwise every call would convert the weights again. On a
    GPU, 1×1 convolutions become matrix products. The copy has no parameters to train or save for
    those layers.

    Args:
        example: shape of a typical input; the layouts are chosen for it, and stay correct for
            others.
    """
    placed = copy.deepcopy(network).eval().requires_grad_(False)
    _fold(placed)
    placed.to(device, dtype)
    for module in placed.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    if device.type == "cpu" and _can_pack(dtype):
        _pack(placed, example)
    elif device.type == "cuda":
        multiply_pointwise(placed)
    return placed


def _fold(network: nn.Module) -> None:
    """In every `nn.Sequential`: convolution, BatchNorm, ReLU → one layer and identities."""
    for stack in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        last = ""  # name of the layer that a following one may be folded into
        for name, layer in list(stack.named_children()):
            before = getattr(stack, last) if last else None
            folded: nn.Module | None = None
            if type(before) is nn.Conv2d and isinstance(layer, nn.BatchNorm2d):
                if layer.running_mean is not None:
                    folded = fuse_conv_bn_eval(before, layer)
            elif type(before) is nn.Conv2d and isinstance(layer, nn.ReLU):
                folded = copy.copy(before)  # the same object elsewhere must not gain a ReLU
                folded.__class__ = ConvReLU
            if folded is None:
                last = name
            else:
                setattr(stack, last, folded)
                setattr(stack, name, nn.Identity())


class _Pointwise(nn.Module):
    """A 1×1 convolution of a channels_last picture is a product, which adds its bias as it goes;
    cuDNN's convolutions add it in a further pass over the result."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        assert convolution.bias is not None  # noqa: S101 (only those are replaced)
        self._weight = convolution.weight[:, :, 0, 0].T.contiguous()
        self._bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        y = torch.addmm(self._bias, rows.reshape(-1, rows.shape[-1]), self._weight)
        return y.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)


def multiply_pointwise(network: nn.Module) -> None:
    """Replace the 1×1 convolutions of `network` by what computes them as products."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if (
                type(layer) is nn.Conv2d
                and layer.kernel_size == layer.stride == (1, 1)
                and layer.groups == 1
                and layer.padding == (0, 0)
                and layer.bias is not None
            ):
                setattr(parent, name, _Pointwise(layer))


def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the operators that torch.compile itself packs with, and
    oneDNN computes in `dtype` on this processor (bfloat16 from AVX-512 on; torch's own
    convolutions do it anywhere, slowly)."""
    wanted = ("_reorder_convolution_weight", "_convolution_pointwise", "_is_mkldnn_bf16_supported")
    available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not available or not all(hasattr(torch.ops.mkldnn, name) for name in wanted):
        return False
    return dtype is torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _PackedConvolution(nn.Module):
    def __init__(self, convolution: nn.Conv2d, input_shape: list[int]) -> None:
        super().__init__()
        padding = cast("tuple[int, ...]", convolution.padding)
        self._geometry = (
            list(padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._after = "relu" if isinstance(convolution, ConvReLU) else "none"
        self._bias = convolution.bias
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight, *self._geometry, input_shape
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, self._after, [], ""
        )
        return y


def _pack(network: nn.Module, example: Sequence[int]) -> None:
    """Replace the convolutions of `network`, for the input shapes each one sees."""
    shapes: dict[str, list[int]] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: shapes.update({name: list(inputs[0].shape)})
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros"
    ]
    if not hooks:
        return
    with torch.inference_mode():
        network(torch.zeros(*example, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    for name, shape in shapes.items():
        parent, _, attribute = name.rpartition(".")
        convolution = network.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)  # noqa: S101 (only those were hooked)
        setattr(network.get_submodule(parent), attribute, _PackedConvolution(convolution, shape))
