"""Networks: shapes for any sample dimensions, a linear last layer, mirrored decoders, clear errors."""

from functools import partial

import jaxtyping
import pytest
import torch
from torch import nn

from discrete_latents.networks import CNN, MLP, LinearNetwork, ResNet
from discrete_latents.networks.onednn_linear import OneDNNLinear

KINDS = pytest.mark.parametrize(
    "make",
    [LinearNetwork, partial(MLP, [16, 12]), partial(CNN, [4, 6]), partial(ResNet, [4, 6])],
    ids=["linear", "mlp", "cnn", "resnet"],
)
IMAGES = pytest.mark.parametrize("image", [(1, 8, 8), (1, 28, 28), (3, 8, 12)], ids=["8x8", "28x28", "colour"])
SAMPLES = pytest.mark.parametrize("samples", [(), (3,), (2, 3)], ids=str)


@KINDS
@IMAGES
@SAMPLES
def test_an_encoder_maps_images_to_features_under_any_sample_dimensions(make, image, samples):
    encoder = make().encoder(image, 7)
    assert encoder(torch.randn(*samples, 5, *image)).shape == (*samples, 5, 7)


@KINDS
@IMAGES
@SAMPLES
def test_a_decoder_maps_features_to_images_under_any_sample_dimensions(make, image, samples):
    decoder = make().decoder(7, image)
    assert decoder(torch.randn(*samples, 5, 7)).shape == (*samples, 5, *image)


@KINDS
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_each_sample_and_image_is_mapped_on_its_own(make, part):
    image = (2, 8, 8)
    network = make().encoder(image, 7) if part == "encoder" else make().decoder(7, image)
    inputs = torch.randn(2, 3, 5, *(image if part == "encoder" else (7,)))
    together = network(inputs)
    torch.testing.assert_close(together[1, 2], network(inputs[1, 2]))
    torch.testing.assert_close(together[0, 1, 3:4], network(inputs[0, 1, 3:4]))


@KINDS
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_nothing_follows_the_last_layer(make, part):
    """The trap of the seed tutorial: a ReLU on the logits."""
    image = (1, 8, 8)
    network = make().encoder(image, 7) if part == "encoder" else make().decoder(7, image)
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.ConvTranspose2d)][-1]
    inputs = 10 * torch.randn(20, *(image if part == "encoder" else (7,)))
    with torch.no_grad():
        before = network(inputs)
        for parameter in last.parameters():
            parameter *= -2
        torch.testing.assert_close(network(inputs), -2 * before)
    assert before.min() < 0 < before.max()


@pytest.mark.parametrize("make", [LinearNetwork, partial(MLP, [])], ids=["linear", "mlp"])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_linear_network_is_one_affine_map(make, part):
    network = make().encoder((1, 4, 4), 3) if part == "encoder" else make().decoder(3, (1, 4, 4))
    a, b = torch.randn(2, 6, *((1, 4, 4) if part == "encoder" else (3,)))
    torch.testing.assert_close(network(a + b) + network(0 * a), network(a) + network(b))
    assert len(list(network.parameters())) == 2


@pytest.mark.parametrize("make", [partial(MLP, [16, 12]), partial(CNN, [4, 6])], ids=["mlp", "cnn"])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_hidden_layers_have_an_activation(make, part):
    network = make().encoder((1, 8, 8), 3) if part == "encoder" else make().decoder(3, (1, 8, 8))
    assert sum(isinstance(layer, nn.ReLU) for layer in network.modules()) == 2
    a, b = torch.randn(2, 6, *((1, 8, 8) if part == "encoder" else (3,)))
    assert not torch.allclose(network(a + b) + network(0 * a), network(a) + network(b), atol=1e-4)


def test_the_activation_is_the_one_that_is_named():
    encoder = MLP([4], activation="Tanh").encoder((1, 2, 2), 3)
    assert [type(layer) for layer in encoder] == [nn.Flatten, OneDNNLinear, nn.Tanh, OneDNNLinear]


def sizes(network: nn.Module) -> list[tuple[int, int]]:
    """Inputs and outputs of every layer with weights."""
    layers = list(network.modules())
    linear = {layer: (layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)}
    kinds = nn.Conv2d | nn.ConvTranspose2d
    convolutions = {layer: (layer.in_channels, layer.out_channels) for layer in layers if isinstance(layer, kinds)}
    return [(linear | convolutions)[layer] for layer in layers if layer in linear | convolutions]


def test_an_mlp_decoder_is_the_encoder_mirrored():
    network = MLP([30, 20])
    assert sizes(network.encoder((1, 4, 4), 6)) == [(16, 30), (30, 20), (20, 6)]
    assert sizes(network.decoder(6, (1, 4, 4))) == [(6, 20), (20, 30), (30, 16)]


def test_a_cnn_decoder_is_the_encoder_mirrored():
    network = CNN([5, 7])
    assert sizes(network.encoder((1, 8, 8), 6)) == [(1, 5), (5, 7), (7 * 2 * 2, 6)]
    assert sizes(network.decoder(6, (1, 8, 8))) == [(6, 7 * 2 * 2), (7, 5), (5, 1)]


def test_decoder_widths_of_their_own_are_kept_in_their_order():
    assert sizes(MLP([30], [20, 40]).decoder(6, (1, 4, 4))) == [(6, 20), (20, 40), (40, 16)]
    assert sizes(MLP([30], []).decoder(6, (1, 4, 4))) == [(6, 16)]
    assert sizes(CNN([5], [8, 4]).decoder(6, (1, 8, 8))) == [(6, 8 * 2 * 2), (8, 4), (4, 1)]


@pytest.fixture
def _unchecked(monkeypatch):
    """As a user runs it: the tests' own check of types would be first to refuse a wrong one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("kind", [MLP, CNN])
@pytest.mark.parametrize("setting", ["hidden", "decoder_hidden"])
@pytest.mark.parametrize("value", [[0], [20, -1], [2.5], [True], 200, "200"], ids=str)
def test_widths_that_cannot_be_are_named(kind, setting, value):
    settings = {"hidden": [4]} | {setting: value}
    with pytest.raises(ValueError, match=rf"^{setting} must be a list of whole numbers of at least 1"):
        kind(**settings)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("activation", ["relu", "ReLu2", None, 3])
def test_an_unknown_activation_is_named(activation):
    with pytest.raises(ValueError, match=rf"^activation must be .* got {activation!r}$"):
        MLP([4], activation=activation)


@pytest.mark.parametrize("image", [(1, 28, 28), (1, 8, 12), (1, 12, 8)], ids=str)
def test_a_cnn_deeper_than_its_images_can_be_halved_says_so(image):
    with pytest.raises(ValueError, match=r"^hidden = \[4, 5, 6\] needs images .* got \d+×\d+$"):
        CNN([4, 5, 6]).encoder(image, 3)


def test_a_cnn_without_layers_says_so():
    with pytest.raises(ValueError, match=r"^hidden = \[\] needs .* at least one width"):
        CNN([]).encoder((1, 8, 8), 3)


def test_a_cnn_decoder_too_deep_names_its_own_setting():
    with pytest.raises(ValueError, match=r"^decoder_hidden = \[7, 6, 5, 4\] needs images"):
        CNN([4], [7, 6, 5, 4]).decoder(3, (1, 8, 8))


@pytest.mark.parametrize("network", [partial(MLP, hidden=[5, 4], decoder_hidden=[3]), LinearNetwork])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_gains_multiply_the_initial_weights_alone(network, part):
    words = ((1, 4, 4), 6) if part == "encoder" else (6, (1, 4, 4))

    def made(**gains):
        torch.manual_seed(0)
        return getattr(network(**gains), part)(*words)

    before, after = made().state_dict(), made(gain=3.0, encoder_gain=2.0).state_dict()
    expected = {name: 3 * value if name.endswith("weight") else value for name, value in before.items()}
    if part == "encoder":
        expected[[name for name in expected if name.endswith("weight")][-1]] *= 2
    assert expected.keys() == after.keys()
    assert all(torch.allclose(value, expected[name]) for name, value in after.items())


@pytest.mark.parametrize("initial", ["torch", "glorot", "he"])
def test_initial_weights_are_uniform_with_the_deviation_of_their_name(initial):
    """Of each layer, here of 300 inputs and 200 outputs and back; biases of glorot and he are 0."""
    torch.manual_seed(0)
    layers = MLP([200], initial=initial, gain=2.0).encoder((1, 15, 20), 300)
    for weight, bias in [(layer.weight, layer.bias) for layer in layers if isinstance(layer, torch.nn.Linear)]:
        outputs, inputs = weight.shape
        variances = {"torch": 1 / (3 * inputs), "glorot": 2 / (inputs + outputs), "he": 2 / inputs}
        variance = variances[initial]
        assert weight.std().item() == pytest.approx(2 * variance**0.5, rel=0.02)
        assert weight.abs().max().item() == pytest.approx(2 * (3 * variance) ** 0.5, rel=0.01)
        assert (bias.abs().max() == 0) == (initial != "torch")


def test_other_initial_weights_are_refused():
    with pytest.raises(ValueError, match="initial must be one of torch, glorot, he, got 'xavier'"):
        LinearNetwork(initial="xavier")


@pytest.mark.parametrize("name", ["gain", "encoder_gain"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), True])
def test_gains_that_are_not_positive_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a number greater than 0, got"):
        MLP([5], **{name: value})


@pytest.mark.parametrize("make", [LinearNetwork, partial(MLP, [16, 12])], ids=["linear", "mlp"])
@SAMPLES
def test_vectors_are_mapped_too(make, samples):
    assert make().encoder((24,), 7)(torch.randn(*samples, 5, 24)).shape == (*samples, 5, 7)
    assert make().decoder(7, (24,))(torch.randn(*samples, 5, 7)).shape == (*samples, 5, 24)


@KINDS
@SAMPLES
def test_a_decoder_has_several_outputs_for_a_pixel_in_a_last_dimension(make, samples):
    decoder = make().decoder(7, (3, 8, 12, 5))
    assert decoder(torch.randn(*samples, 5, 7)).shape == (*samples, 5, 3, 8, 12, 5)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_cnn_refuses_vectors(part):
    words = ((24,), 7) if part == "encoder" else (7, (24,))
    with pytest.raises(
        ValueError, match=r"^network must be linear or mlp for inputs that are no whole images, got CNN$"
    ):
        getattr(CNN([4]), part)(*words)


@pytest.mark.parametrize("outputs", [(), (2,)], ids=["one output", "two"])
@pytest.mark.parametrize("widths", [[5], [4, 6]], ids=str)
def test_a_grid_is_that_of_the_image_under_any_sample_dimensions(widths, outputs):
    network, shrink = ResNet(widths, blocks=2), 2 ** len(widths)
    image = (3, 8, 12)
    assert network.grid(image) == (8 // shrink, 12 // shrink)
    features = network.grid_encoder(image, 7)(torch.randn(2, 5, *image))
    assert features.shape == (2, 5, 7, 8 // shrink, 12 // shrink)
    assert network.grid_decoder(7, (*image, *outputs))(features).shape == (2, 5, *image, *outputs)


def test_a_cell_of_a_grid_depends_on_the_image_around_it():
    encoder = ResNet([4, 4]).grid_encoder((1, 32, 32), 3)
    x = torch.randn(1, 1, 32, 32, requires_grad=True)
    encoder(x)[0, :, 0, 0].sum().backward()
    assert x.grad[..., :4, :4].abs().sum() > 0
    assert x.grad[..., 4:8, 4:8].abs().sum() > 0
    assert x.grad[..., 24:, 24:].abs().max() == 0


def test_a_gain_multiplies_the_last_layer_of_a_grid_encoder():
    made = []
    for gain in (1.0, 3.0):
        torch.manual_seed(0)
        made.append(ResNet([4]).grid_encoder((1, 8, 8), 3, gain).network[-1].weight)
    torch.testing.assert_close(made[1], 3 * made[0])
