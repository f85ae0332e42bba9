"""Peak memory of the compiled training step, from the graphs that torch's compiler cuts out of it.

`python -m tests.fake_gpu.compiled_memory pr715 …` prints it as JSON, a quarter of a minute of CPU per system;
`pr715:1` is its network with one layer.

The forward and backward graphs are those of `network_loss` on CUDA: Dynamo's capture, Inductor's decompositions, and
its partitioner's choice of what the forward pass keeps and the backward pass computes again. No kernel is generated.
What Inductor will fuse is not known at that point, so memory is counted by a rule: a tensor takes memory if it enters
or leaves a matrix product, an attention or an embedding kernel or a graph; everything between is fused away.
"""

import json
import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from functorch.compile import make_boxed_func
from torch import Tensor, fx
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table

from pgolf.model.gpt import GPT
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.recipe import Recipe
from pgolf.train.averaging import WeightAverage
from pgolf.train.network_loss import network_loss
from pgolf.train.optimizers import Optimizers
from tests.fake_gpu.fake_node import DEVICE, fake_rank
from tests.fake_gpu.recorder import Recorder

_KERNELS = ("mm", "addmm", "bmm", "_scaled_dot_product_flash", "embedding_dense_backward", "index_put")


def peak(recipe: Recipe) -> dict[str, int]:
    """Bytes on one of eight ranks: state between steps, kept by the forward pass, and the peak of a whole step."""
    graphs: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, _inputs: object) -> Callable[..., Any]:
        graphs.append(graph)
        boxed: Callable[..., Any] = make_boxed_func(graph.forward)
        return boxed

    with fake_rank(0) as ranks:
        with Recorder() as recorder:
            with DEVICE:
                model = GPT(recipe.model).train()
            held = Optimizers(model, recipe.train, ranks), WeightAverage(model.state_dict(), recipe.train)
            state_bytes = recorder.bytes
        rows, length = recipe.train.tokens_per_span // recipe.train.sequence_length, recipe.train.sequence_length
        tokens_BT = torch.zeros(rows, length, dtype=torch.long, device=DEVICE)
        backend = aot_autograd(
            fw_compiler=keep,
            bw_compiler=keep,
            partition_fn=min_cut_rematerialization_partition,
            decompositions=select_decomp_table(),
        )
        plain_compile = torch.compile
        torch.compile = lambda loss, **options: plain_compile(loss, backend=backend, **options)
        try:
            network_loss(model, recipe.train, DEVICE)(tokens_BT, tokens_BT).backward()
        finally:
            torch.compile = plain_compile
        del held
    forward, backward = graphs
    weights = {node.name: "" for node in forward.graph.nodes if node.op == "placeholder"}
    forward_peak, kept, names = _walk(forward.graph, weights, {})
    # A backward graph names its inputs as the forward graph does; the gradient of the loss is one number.
    backward_peak, _gradients, _names = _walk(backward.graph, weights | names | {"tangents_1": ""}, kept)
    return {
        "graphs": len(graphs),
        "state_bytes": state_bytes,
        "kept_bytes": sum(kept.values()),
        "peak_bytes": state_bytes + max(forward_peak, backward_peak),
    }


def _walk(graph: fx.Graph, inputs: dict[str, str], held: dict[str, int]) -> tuple[int, dict[str, int], dict[str, str]]:
    """The most bytes at one time, the bytes of the outputs by storage, and the storage of each output.

    inputs: the storage of each input; "" for what is counted elsewhere. held: the bytes of those storages, each freed
    after its last use.
    """
    nodes = list(graph.nodes)
    owner = _owners(nodes, inputs)
    last_use = {owner[used]: place for place, node in enumerate(nodes) for used in node.all_input_nodes}
    live = dict(held)
    now = most = sum(live.values())
    for place, node in enumerate(nodes):
        if node.op == "call_function" and owner[node] == node.name and _takes_memory(node, owner):
            live[node.name] = _bytes(node)
            now += live[node.name]
            most = max(most, now)
        if node.op == "output":
            break
        for used in {owner[used] for used in node.all_input_nodes}:
            if last_use[used] == place:
                now -= live.pop(used, 0)
    outputs = {node.name: owner[node] for node in nodes[-1].all_input_nodes}
    return most, {name: live[name] for name in set(outputs.values()) if name in live}, outputs


def _owners(nodes: list[fx.Node], inputs: dict[str, str]) -> dict[fx.Node, str]:
    """The storage of every node's value: the name of the node that allocates it."""
    owner: dict[fx.Node, str] = {}
    for node in nodes:
        if node.op == "placeholder":
            owner[node] = inputs[node.name]
        elif node.op == "call_function" and (_is_view(node) or node.target is operator.getitem):
            owner[node] = owner[node.all_input_nodes[0]]
        else:
            owner[node] = node.name
    return owner


def _is_view(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(
        argument.alias_info is not None and not argument.alias_info.is_write for argument in schema.arguments
    )


def _is_kernel(node: fx.Node) -> bool:
    return node.op == "call_function" and str(node.target).removeprefix("aten.").startswith(_KERNELS)


def _takes_memory(node: fx.Node, owner: dict[fx.Node, str]) -> bool:
    if _is_kernel(node):
        return True
    users = list(node.users)
    while users:
        user = users.pop()
        if _is_kernel(user) or user.op == "output":
            return True
        if owner[user] == owner[node]:
            users.extend(user.users)
    return False


def _bytes(node: fx.Node) -> int:
    value = node.meta.get("val")
    tensors: Iterable[Any] = value if isinstance(value, tuple | list) else (value,)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))


def main() -> None:
    """Print the peaks of the systems on the command line."""
    print(json.dumps({name: peak(_recipe(*name.split(":"))) for name in sys.argv[1:]}))


def _recipe(name: str, layers: str | None = None) -> Recipe:
    recipe = recipe_named(name)
    if layers is None:
        return recipe
    fewer = {"layers": int(layers), "xsa_layers": tuple(range(int(layers)))}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=fewer)})


if __name__ == "__main__":
    main()
