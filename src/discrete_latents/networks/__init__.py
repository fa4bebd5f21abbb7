"""Networks between images and features: one option of the group `model/network` per file."""

from discrete_latents.networks.base import Network
from discrete_latents.networks.cnn import CNN
from discrete_latents.networks.linear import LinearNetwork
from discrete_latents.networks.mlp import MLP
from discrete_latents.networks.resnet import ResNet

__all__ = ["CNN", "MLP", "LinearNetwork", "Network", "ResNet"]
