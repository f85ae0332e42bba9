import torch

from pgolf.train.ema import ExponentialAverage


def test_the_average_is_its_closed_form():
    """e_n = d^n θ_0 + (1 - d) Σ d^(n - i) θ_i: started from the first weights, without correction."""
    decay, values = 0.9, [3.0, 1.0, -2.0, 5.0]
    average = ExponentialAverage({"w": torch.tensor([values[0]])}, decay)
    for value in values[1:]:
        average.update({"w": torch.tensor([value])})
    expected = decay**3 * 3.0 + 0.1 * (decay**2 * 1.0 + decay * -2.0 + 5.0)
    torch.testing.assert_close(average.state()["w"], torch.tensor([expected]))


def test_bfloat16_weights_are_averaged_in_float32_and_rounded_at_the_end():
    """One thousandth of a bfloat16 step at a time would never move a bfloat16 average."""
    average = ExponentialAverage({"w": torch.tensor([1.0], dtype=torch.bfloat16)}, 0.999)
    for _ in range(3000):
        average.update({"w": torch.tensor([1.0 + 2**-7], dtype=torch.bfloat16)})
    state = average.state()["w"]
    assert state.dtype == torch.bfloat16
    assert state.item() == 1.0 + 2**-7


def test_later_changes_of_the_weights_do_not_reach_the_average():
    weights = torch.tensor([1.0])
    average = ExponentialAverage({"w": weights}, 0.5)
    weights.fill_(7.0)
    assert average.state()["w"].item() == 1.0
