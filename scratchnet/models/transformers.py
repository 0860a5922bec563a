"""Transformers: a small GPT, and a vision transformer with torchvision's names and keys."""

from __future__ import annotations

from typing import Any

import torch

from scratchnet.errors import ArgumentError
from scratchnet.layers.attention import MultiheadAttention
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.dropout import Dropout
from scratchnet.layers.embedding import Embedding
from scratchnet.layers.graph import Graph
from scratchnet.layers.linear import Linear
from scratchnet.layers.module import Module
from scratchnet.layers.norm import LayerNorm
from scratchnet.layers.parameter import Parameter
from scratchnet.layers.smooth import GELU

Generator = torch.Generator | None


class Block(Graph):
    """y = h + mlp(ln(h)), h = x + attention(ln(x)): a transformer's layer with the norms first.

    Source: Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020).

    Args:
        width: D, of (N, T, D).
        heads: of the attention.
        hidden: width inside the mlp.
        causal: whether a place sees those before it and itself alone.
        dropout: of the attention's weights and behind both.
        eps: of the norms.
        generator: source of the initial weights.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, causal: bool = False, dropout: float = 0.0,
        eps: float = 1e-5, *, generator: Generator = None,
    ) -> None:  # fmt: skip
        self.arguments = {"width": width, "heads": heads, "hidden": hidden, "causal": causal,
                          "dropout": dropout, "eps": eps}  # fmt: skip
        self.causal = causal
        self.ln_1 = LayerNorm(width, eps=eps)
        self.self_attention = MultiheadAttention(
            width, heads, dropout, batch_first=True, generator=generator
        )
        self.dropout = Dropout(dropout)
        self.ln_2 = LayerNorm(width, eps=eps)
        self.mlp = Sequential(
            Linear(width, hidden, generator=generator),
            GELU(),
            Dropout(dropout),
            Linear(hidden, width, generator=generator),
            Dropout(dropout),
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Any) -> Any:
        """Attention, then the mlp, each added to what it was given."""
        y = self.self_attention(self.ln_1(x), need_weights=False, is_causal=self.causal)[0]
        h = x + self.dropout(y)
        return h + self.mlp(self.ln_2(h))


class GPT(Graph):
    """A decoder of tokens: indices (N, T) to logits (N, T, vocabulary); T up to ``length``.

    The head is the embedding's weight again. Source: Radford et al., "Language Models are
    Unsupervised Multitask Learners" (2019), section 2.3; Press and Wolf, "Using the Output
    Embedding to Improve Language Models" (2017), for the shared weight.

    Args:
        vocabulary: how many tokens there are.
        length: the most tokens at once.
        layers: how many blocks.
        heads: of each attention.
        width: of the embeddings.
        dropout: of the blocks.
        generator: source of the initial weights.
    """

    def __init__(
        self, vocabulary: int = 256, length: int = 128, layers: int = 6, heads: int = 6,
        width: int = 192, dropout: float = 0.0, *, generator: Generator = None,
    ) -> None:  # fmt: skip
        self.arguments = {"vocabulary": vocabulary, "length": length, "layers": layers,
                          "heads": heads, "width": width, "dropout": dropout}  # fmt: skip
        self.places: Parameter
        self.tokens = Embedding(vocabulary, width, generator=generator)
        self.add_parameter("places", torch.zeros(length, width))
        self.blocks = Sequential(
            *(
                Block(width, heads, 4 * width, causal=True, dropout=dropout, generator=generator)
                for _ in range(layers)
            )
        )
        self.norm = LayerNorm(width)
        self.head = Linear(width, vocabulary, bias=False, generator=generator)
        for weight in (self.tokens.weight, self.places):
            weight.normal_(0, 0.02, generator=generator)
        self.head.weight = self.tokens.weight
        self.head.grad_weight = self.tokens.grad_weight  # type: ignore[attr-defined]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, tokens: Any) -> Any:
        """Embedding and place, blocks, a norm, the embedding's transpose."""
        x = self.tokens(tokens) + self.places[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def gpt(
    *, vocabulary: int = 256, length: int = 128, layers: int = 6, heads: int = 6, width: int = 192,
    dropout: float = 0.0, generator: Generator = None,
) -> GPT:  # fmt: skip
    """Return a small GPT, 2.7 million parameters; see :class:`GPT`."""
    return GPT(vocabulary, length, layers, heads, width, dropout, generator=generator)


class Encoder(Graph):
    """Places added, blocks, a norm; (N, T, D) to (N, T, D)."""

    def __init__(
        self, length: int, layers: int, heads: int, width: int, hidden: int, dropout: float = 0.0,
        *, generator: Generator = None,
    ) -> None:  # fmt: skip
        self.arguments = {"length": length, "layers": layers, "heads": heads, "width": width,
                          "hidden": hidden, "dropout": dropout}  # fmt: skip
        self.pos_embedding: Parameter
        places = torch.empty(1, length, width).normal_(0, 0.02, generator=generator)
        self.add_parameter("pos_embedding", places)
        self.dropout = Dropout(dropout)
        self.layers = Module()
        for i in range(layers):
            block = Block(width, heads, hidden, dropout=dropout, eps=1e-6, generator=generator)
            setattr(self.layers, f"encoder_layer_{i}", block)
        self.ln = LayerNorm(width, eps=1e-6)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Any) -> Any:
        """As the class says."""
        x = self.dropout(x + self.pos_embedding)
        for _, block in self.layers.named_children():
            x = block(x)
        return self.ln(x)


class VisionTransformer(Graph):
    """Patches of an image as tokens: (N, 3, image_size, image_size) to (N, num_classes), with the
    keys of torchvision's.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2020), section 3.1.

    Args:
        image_size: height and width.
        patch_size: of a token; divides image_size.
        num_layers: how many blocks.
        num_heads: of each attention.
        hidden_dim: width of a token.
        mlp_dim: width inside the blocks' mlp.
        num_classes: of the output.
        dropout: of the blocks.
        generator: source of the initial weights.

    Raises:
        ArgumentError: patch_size does not divide image_size.
    """

    def __init__(
        self, image_size: int = 224, patch_size: int = 16, num_layers: int = 12,
        num_heads: int = 12, hidden_dim: int = 768, mlp_dim: int = 3072, num_classes: int = 1000,
        dropout: float = 0.0, *, generator: Generator = None,
    ) -> None:  # fmt: skip
        if image_size % patch_size:
            raise ArgumentError(
                f"VisionTransformer expects patches that fill the image, got image_size="
                f"{image_size}, patch_size={patch_size}"
            )
        self.arguments = {"image_size": image_size, "patch_size": patch_size,
                          "num_layers": num_layers, "num_heads": num_heads,
                          "hidden_dim": hidden_dim, "mlp_dim": mlp_dim,
                          "num_classes": num_classes, "dropout": dropout}  # fmt: skip
        self.class_token: Parameter
        self.conv_proj = Conv2d(3, hidden_dim, patch_size, patch_size, generator=generator)
        self.add_parameter("class_token", torch.zeros(1, 1, hidden_dim))
        length = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(
            length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, generator=generator
        )
        self.heads = Module()
        self.heads.head = Linear(hidden_dim, num_classes, generator=generator)  # type: ignore[attr-defined]
        self.heads.head.weight.zero_()  # type: ignore[attr-defined]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.arguments)

    def connect(self, x: Any) -> Any:
        """A convolution cuts the patches; what the class token has become is read off."""
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        first = self.class_token.expand(x.shape[0], -1, -1)
        x = self.encoder(torch.cat([first, x], 1))
        return self.heads.head(x[:, 0])  # type: ignore[attr-defined]


def vit(
    *, image_size: int = 32, patch_size: int = 4, layers: int = 6, heads: int = 6, width: int = 192,
    num_classes: int = 10, dropout: float = 0.0, generator: Generator = None,
) -> VisionTransformer:  # fmt: skip
    """Return a small vision transformer, 2.7 million parameters; see :class:`VisionTransformer`."""
    return VisionTransformer(
        image_size, patch_size, layers, heads, width, 4 * width, num_classes, dropout,
        generator=generator,
    )  # fmt: skip
