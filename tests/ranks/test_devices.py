"""The devices of ranks: what a torch build lacks is said before anything is started."""

import pytest
import torch
import torch.distributed as dist

from pgolf.errors import ConfigError
from pgolf.ranks.devices import devices_for
from pgolf.run import RunOptions


@pytest.mark.parametrize(
    ("nccl", "flash", "said"),
    [(False, True, "has no NCCL, by which ranks on GPUs talk"), (True, False, "has no flash attention")],
)
def test_a_torch_without_nccl_or_flash_attention_is_refused(monkeypatch, nccl, flash, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: nccl)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: flash)
    with pytest.raises(ConfigError, match=said):
        devices_for(RunOptions())
    assert devices_for(RunOptions(device="cpu"))[0] == "cpu"
