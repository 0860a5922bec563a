"""GPT and the vision transformer, against torch.nn's with the same keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratchnet
from scratchnet import models
from scratchnet.errors import ArgumentError


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, causal: bool, eps: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0), nn.Linear(hidden, width)
        )
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        y, later = self.ln_1(x), None
        if self.causal:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        x = x + self.self_attention(y, y, y, attn_mask=later, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class TorchGPT(nn.Module):
    def __init__(self, vocabulary: int, length: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, 4 * width, True, 1e-5) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.tokens(x) + self.places[: x.shape[1]]
        return self.head(self.norm(self.blocks(y)))


class TorchViT(nn.Module):
    def __init__(self, size: int, patch: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.encoder.layers = nn.Module()
        for i in range(layers):
            block = Block(width, heads, 4 * width, False, 1e-6)
            setattr(self.encoder.layers, f"encoder_layer_{i}", block)
        self.encoder.ln = nn.LayerNorm(width, eps=1e-6)
        self.heads = nn.Module()
        self.heads.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = x + self.encoder.pos_embedding
        for block in self.encoder.layers.children():
            x = block(x)
        return self.heads.head(self.encoder.ln(x)[:, 0])


def gpt() -> tuple[Any, Any, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ours = models.build("gpt", vocabulary=11, length=9, layers=2, heads=3, width=12,
                        generator=generator)  # fmt: skip
    return ours, TorchGPT(11, 9, 2, 3, 12), torch.randint(11, (3, 7), generator=generator)


def vit() -> tuple[Any, Any, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ours = models.build("vit", image_size=12, patch_size=4, layers=2, heads=3, width=12,
                        generator=generator)  # fmt: skip
    return ours, TorchViT(12, 4, 2, 3, 12), torch.randn(3, 3, 12, 12, generator=generator)


@pytest.mark.parametrize("make", [gpt, vit])
def test_outputs_and_gradients_are_those_of_torch(make: Any) -> None:
    ours, twin, x = make()
    ours.to(dtype=torch.float64)
    twin = twin.double()
    for value in ours.parameters():
        value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    state = {k: v.clone() for k, v in ours.state_dict().items()}
    assert {k for k in state if "mlp.4" not in k} == set(twin.state_dict())
    twin.load_state_dict(state)
    x = x.double() if x.is_floating_point() else x
    y, wanted = ours.forward(x), twin(x)
    torch.testing.assert_close(y, wanted.detach(), rtol=1e-9, atol=1e-9)
    grad = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours.zero_grad()
    ours.backward_parameters(grad)
    wanted.backward(grad)
    gradients = dict(twin.named_parameters())
    for name, value in ours.named_parameters():
        torch.testing.assert_close(
            value.grad.detach(), gradients[name].grad, rtol=1e-9, atol=1e-9, msg=name
        )


def test_a_token_sees_those_before_it_alone() -> None:
    net, _, x = gpt()
    net.eval()
    later = x.clone()
    later[:, 4:] = 0
    assert torch.equal(net.forward(x)[:, :4], net.forward(later)[:, :4])


def test_patches_fill_the_image() -> None:
    with pytest.raises(ArgumentError, match="patches that fill the image"):
        models.build("vit", image_size=10, patch_size=4)


def test_a_gpt_learns() -> None:
    net, _, x = gpt()
    loss, adam = scratchnet.CrossEntropyLoss(), scratchnet.Adam(net.param(), lr=1e-2)
    losses = []
    for _ in range(20):
        y = net.forward(x[:, :-1])
        losses.append(float(loss.forward(y.flatten(0, 1), x[:, 1:].flatten())))
        net.zero_grad()
        net.backward_parameters(loss.backward().view(y.shape))
        adam.step()
    assert losses[-1] < 0.5 * losses[0]
