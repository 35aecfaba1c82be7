"""Other adapters for a forward pass that exists: the base's weights are taken from it, and not loaded again."""

from collections.abc import Mapping, Sequence
from copy import copy

from torch import Tensor, nn

from models.adapters import LoraWeights, WrappedForward
from models.fused import PROJECTIONS, TURNED, FusedForward, Inputs, can_fuse
from models.members import ForwardPass, Group
from steering.errors import LoadError


def refitted(
    group: Group, adapters: Sequence[LoraWeights], *, before: Sequence[LoraWeights], in_place: bool
) -> ForwardPass:
    """Return a forward pass of the group's model with ``adapters`` as rows, such as loading it anew would make.

    Args:
        group: whose forward pass is taken as the start; it goes on as it is unless ``in_place``.
        adapters: the new ones.
        before: the ones it has.
        in_place: take the weights over, layer by layer, so that there are never two copies. Where that fails, the
            group's forward pass is again what it was.

    Raises:
        LoadError: an adapter changes what a joined forward pass leaves to the model.
    """
    forward, model = group.forward_pass, group.model
    is_same = len(adapters) == len(before) and all(new is old for new, old in zip(adapters, before, strict=True))
    if isinstance(forward, WrappedForward):
        return forward if is_same else WrappedForward(model, adapters, forward)
    assert isinstance(forward, FusedForward)
    if not can_fuse(model, adapters):
        raise LoadError(
            "A guide changes other layers than attention's and the MLP's projections, which only a start can take in.",
            hint="Make it active while Tiller is not running, or name it in the configuration.",
        )
    fresh, modules, inputs = copy(forward), dict(model.named_modules()), Inputs()
    fresh.layers = forward.layers if in_place else list(forward.layers)
    if is_same:
        return fresh
    index = 0
    try:
        for index in range(len(fresh.layers)):
            _join_again(fresh, index, modules, adapters, inputs)
    except BaseException:
        if in_place:
            again = Inputs()
            for done in range(index):
                _join_again(fresh, done, modules, before, again)
        raise
    return fresh


def copied_bytes(group: Group) -> int:
    """The bytes of weights that a second forward pass of the group's model takes beside the first."""
    return group.forward_pass.nbytes if isinstance(group.forward_pass, FusedForward) else 0


def _join_again(
    forward: FusedForward,
    index: int,
    modules: Mapping[str, nn.Module],
    adapters: Sequence[LoraWeights],
    inputs: Inputs,
) -> None:
    """Make a layer anew: its weights go back to the model's modules, from where they are joined with ``adapters``."""
    layer, linears = forward.layers[index], []
    for names, projection in zip(PROJECTIONS, (layer.qkv, layer.o, layer.gate_up, layer.down), strict=True):
        own = [modules[f"model.layers.{index}.{name}"] for name in names]
        layers = [module for module in own if isinstance(module, nn.Linear)]
        whole = projection.product.plain()[:, : layers[0].in_features]
        for name, module, part in zip(names, layers, whole.split([m.out_features for m in layers]), strict=True):
            weight = _apart(part, forward.head_size) if name in TURNED else part
            module.weight = nn.Parameter(weight, requires_grad=False)
        linears += layers
    try:
        forward.layers[index] = forward.joined(index, modules, adapters, inputs)
    finally:
        for module in linears:
            module.weight = nn.Parameter(module.weight.new_empty(0), requires_grad=False)


def _apart(weight: Tensor, head_size: int) -> Tensor:
    """Undo the interleaving of the two halves of every head along the first axis."""
    return weight.unflatten(0, (-1, head_size // 2, 2)).transpose(1, 2).flatten(0, 2)
