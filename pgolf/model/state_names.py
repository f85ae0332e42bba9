"""State names of a block's six matrices; they number physical layers, all other `blocks.*` names executed layers, or
physical ones where recurrent passes share whole blocks.

Source: the state files of Parameter Golf PR #745, whose matrices are shared by repeated layers.
"""

MATRIX_NAMES = ("attn.c_q", "attn.c_k", "attn.c_v", "attn.proj", "mlp.fc", "mlp.proj")


def matrix_name(layer: int, name: str) -> str:
    """State name of one of `MATRIX_NAMES` in a physical layer."""
    return f"blocks.{layer}.{name}.weight"
