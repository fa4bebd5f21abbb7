"""Fully connected layers on oneDNN: the same function and derivatives as torch.nn.Linear."""

import pytest
import torch
from torch import nn

from discrete_latents.networks import onednn_linear
from discrete_latents.networks.onednn_linear import OneDNNLinear


def pair(inputs: int, outputs: int, bias: bool = True) -> tuple[OneDNNLinear, nn.Linear]:
    """A layer, and torch's of the same weights in float64."""
    torch.manual_seed(0)
    layer = OneDNNLinear(inputs, outputs, bias)
    reference = nn.Linear(inputs, outputs, bias).double()
    reference.load_state_dict(layer.state_dict())
    return layer, reference


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the products that go through oneDNN, so that no test compares torch with itself."""
    monkeypatch.setattr(onednn_linear, "FASTER", onednn_linear.AVAILABLE)
    calls = []
    apply = onednn_linear.Product.apply

    def counted(*arguments):
        calls.append(1)
        return apply(*arguments)

    monkeypatch.setattr(onednn_linear.Product, "apply", counted)
    return calls


@pytest.mark.skipif(not onednn_linear.AVAILABLE, reason="torch without oneDNN's linear operator")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(100, 30), (1, 30), (0, 30), (3, 5, 30), (30,)])
def test_value_and_gradients_are_those_of_a_linear_layer(shape, bias, products):
    layer, reference = pair(30, 20, bias)
    x = torch.randn(shape, requires_grad=True)
    exact = x.detach().double().requires_grad_()
    y, expected = layer(x), reference(exact)
    slope = torch.randn_like(y)
    y.backward(slope)
    expected.backward(slope.double())
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x.grad, exact.grad.float(), atol=1e-5, rtol=1e-5)
    for own, other in zip(layer.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad.float(), atol=1e-4, rtol=1e-5)
    assert len(products) == (3 if x.numel() else 0)


@pytest.mark.skipif(not onednn_linear.AVAILABLE, reason="torch without oneDNN's linear operator")
def test_it_can_be_differentiated_twice(products):
    """As RELAX and REBAR do to the networks that they differentiate through."""

    def penalty(layer: nn.Linear, x: torch.Tensor) -> list[torch.Tensor]:
        (gradient,) = torch.autograd.grad(layer(x).tanh().sum(), x, create_graph=True)
        (gradient**2).sum().backward()
        return [parameter.grad.float() for parameter in layer.parameters()]

    layer, reference = pair(6, 4)
    x = torch.randn(5, 6)
    own = penalty(layer, x.clone().requires_grad_())
    other = penalty(reference, x.double().requires_grad_())
    assert other[0].abs().max() > 0.01
    for value, expected in zip(own, other, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)
    assert len(products) > 3


def test_inputs_of_any_strides(products):
    layer, reference = pair(30, 20)
    x = torch.randn(30, 50).t()
    torch.testing.assert_close(layer(x), reference(x.double()).float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(x[::2]), reference(x[::2].double()).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_left_to_torch(dtype, products):
    layer, _ = pair(30, 20)
    assert layer.to(dtype)(torch.randn(5, 30, dtype=dtype)).dtype == dtype
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(5, 30)).dtype == torch.bfloat16
    assert not products


def test_it_is_saved_as_a_linear_layer():
    layer, reference = pair(3, 2)
    assert isinstance(layer, nn.Linear)
    assert layer.state_dict().keys() == reference.state_dict().keys()


def test_where_torchs_own_product_is_the_faster_one_it_is_taken(products, monkeypatch):
    monkeypatch.setattr(onednn_linear, "FASTER", False)
    layer, _ = pair(30, 20)
    x = torch.randn(5, 30)
    assert torch.equal(layer(x), nn.functional.linear(x, *layer.parameters()))
    assert not products
