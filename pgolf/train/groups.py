"""Parameter groups: which optimizer and learning rate each parameter gets.

Source: PR #715: AdamW for tables, Muon for matrices, AdamW for everything else, each with its own rate.
"""

from dataclasses import dataclass

from torch import nn

from pgolf.model.embedding import Table
from pgolf.model.gpt import GPT
from pgolf.model.linear import CastedLinear


@dataclass(frozen=True, slots=True)
class ParameterGroups:
    """Parameters by state name. tables: embeddings. matrices: linear maps of the blocks. projections: the linear maps
    behind the bigram and value tables. scalars: everything else.
    """

    tables: dict[str, nn.Parameter]
    matrices: dict[str, nn.Parameter]
    projections: dict[str, nn.Parameter]
    scalars: dict[str, nn.Parameter]


def group_parameters(model: GPT) -> ParameterGroups:
    """Put every parameter of the network into exactly one group, by the type of module that owns it."""
    groups = ParameterGroups({}, {}, {}, {})
    blocks = block_linears(model)
    for module_name, module in model.named_modules():
        match module:
            case Table():
                group = groups.tables
            case CastedLinear():
                group = groups.matrices if module_name in blocks else groups.projections
            case _:
                group = groups.scalars
        for name, parameter in module.named_parameters(prefix=module_name, recurse=False):
            group[name] = parameter
    return groups


def block_linears(model: GPT) -> dict[str, CastedLinear]:
    """The linear maps of the blocks by module name, each once even if recurrent."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, CastedLinear) and name.startswith("blocks.")
    }
