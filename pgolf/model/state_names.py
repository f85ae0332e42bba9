"""Names of the six matrices in a network's state; they count physical layers, all other `blocks.*` names executed ones.

Source: the state files of Parameter Golf PR #745, whose matrices are shared by repeated layers.
"""

MATRIX_NAMES = ("attn.c_q", "attn.c_k", "attn.c_v", "attn.proj", "mlp.fc", "mlp.proj")


def matrix_name(layer: int, name: str) -> str:
    """State name of one of `MATRIX_NAMES` in a physical layer."""
    return f"blocks.{layer}.{name}.weight"
