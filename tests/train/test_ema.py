import torch

from pgolf.train.ema import ExponentialAverage


def average_over(values, decay, dtype=torch.float32):
    """The average of one weight that takes the values one after the other, in place as training does."""
    weight = torch.tensor([values[0]], dtype=dtype)
    average = ExponentialAverage({"w": weight}, decay)
    for value in values[1:]:
        weight.fill_(value)
        average.update()
    return average.average["w"]


def test_the_average_is_its_closed_form():
    """e_n = d^n θ_0 + (1 - d) Σ d^(n - k) θ_k: started from the first weights, without correction."""
    values = [3.0, 1.0, -2.0, 5.0, 0.5]
    expected = 0.997**4 * 3.0 + 0.003 * sum(0.997 ** (4 - k) * values[k] for k in range(1, 5))
    torch.testing.assert_close(average_over(values, 0.997), torch.tensor([expected]))


def test_bfloat16_weights_are_averaged_in_float32():
    """One thousandth of a bfloat16 step at a time would never move a bfloat16 average."""
    average = average_over([1.0] + [1.0 + 2**-7] * 3000, 0.999, torch.bfloat16)
    assert average.dtype == torch.float32
    torch.testing.assert_close(average, torch.tensor([1.0 + 2**-7 * (1 - 0.999**3000)]))


def test_later_changes_of_the_weights_do_not_reach_the_average_before_its_update():
    weights = torch.tensor([1.0])
    average = ExponentialAverage({"w": weights}, 0.5)
    weights.fill_(7.0)
    assert average.average["w"].item() == 1.0
    average.update()
    assert average.average["w"].item() == 4.0
