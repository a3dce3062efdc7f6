"""A variational autoencoder of digits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VAE(nn.Module):
    def __init__(self, latent: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 2 * latent),
        )
        self.fc = nn.Linear(latent, 32 * 7 * 7)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        mean, logvar = self.encoder(image).chunk(2, dim=1)
        z = mean + (0.5 * logvar).exp() * noise
        x = self.fc(z).relu()
        x = x.view(-1, 32, 7, 7)
        recon = self.decoder(x)
        likeness = nn.functional.binary_cross_entropy_with_logits(recon, image, reduction="sum")
        return likeness - 0.5 * (1 + logvar - mean**2 - logvar.exp()).sum()


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return VAE(), (torch.rand(8, 1, 28, 28), torch.randn(8, 16))
