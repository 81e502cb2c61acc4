"""Useful work: the least FLOPs that a token of GPT-2 costs, by method. Nothing that an implementation could leave out counts: logits
of positions without a label, masked attention, gradients that nothing needs. Pure arithmetic, no library."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    """A model: layers, width, vocabulary, positions."""

    layers: int
    width: int
    vocabulary: int
    positions: int

    @property
    def block(self):
        """Forward through one block's projections, a token."""
        return 24 * self.width**2

    def attention(self, tokens):
        """Forward through one block's causal attention, a token of `tokens`: it sees half of them."""
        return 4 * self.width * (tokens + 1) / 2

    @property
    def head(self):
        return 2 * self.width * self.vocabulary

    @property
    def parameters_without_positions(self):
        norms = 2 * self.width * (2 * self.layers + 1)
        biases = 9 * self.width * self.layers
        return 12 * self.layers * self.width**2 + self.vocabulary * self.width + norms + biases


GPT2_SMALL = Shape(layers=12, width=768, vocabulary=50257, positions=1024)


def training(shape, method, tokens, labelled):
    """FLOPs a real token of an optimiser step over examples of `tokens` tokens, of which the share `labelled` has a label. `method` is
    graft.v1.Method as JSON; LoRA on c_attn."""
    full, lora, prompt, last = (method.get(name) for name in ("full", "lora", "soft_prompt", "last_layers"))
    virtual = prompt["num_virtual_tokens"] if prompt else 0
    whole = shape.layers if full is not None else last["num_layers"] if last else 0
    adapted = shape.layers - whole if lora else 0
    reached = shape.layers if full is not None or lora or prompt else whole  # Blocks that a gradient goes back through.
    attention = shape.attention(tokens + virtual)
    forward = shape.layers * (shape.block + attention)
    backward = reached * (shape.block + 2 * attention) + whole * shape.block
    if full is None and not prompt:
        backward -= 6 * shape.width**2  # Nothing below the lowest c_attn needs its input's gradient.
    low_rank = 6 * lora["rank"] * (shape.width + 3 * shape.width) * adapted if lora else 0
    head = (3 if full is not None else 2) * labelled * shape.head
    return (forward + backward + low_rank) * (tokens + virtual) / tokens + head


def prefill(shape, tokens):
    """FLOPs a token of a prompt; only the last one's logits are needed."""
    return shape.layers * (shape.block + shape.attention(tokens)) + shape.head / tokens


def decoding(shape):
    """FLOPs a new token: each weight is multiplied once. (Attention over what came before is left out, as it is small.)"""
    return 2 * shape.parameters_without_positions
