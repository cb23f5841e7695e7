"""The steps of a parity case by formula, in float64 and from the case alone.

Shares no code with models.py and make_cases.py, and uses neither nn.Module nor torch.optim, nor PyTorch's
convolution, pooling, normalisation, attention and loss: only the derivatives are PyTorch's.
"""
import json
import math

import torch
import torch.nn.functional as F


def relu(x):
    return x.clamp(min=0)


def max_pool(x, kernel, stride, padding=0):
    side = (x.shape[-1] + 2 * padding - kernel) // stride + 1
    x = F.pad(x, [padding] * 4, value=-math.inf)
    windows = F.unfold(x, kernel, stride=stride).unflatten(1, (-1, kernel * kernel))
    return windows.amax(2).unflatten(2, (side, side))


class Pass:
    """The layers of one forward pass: named weights as arguments, running statistics updated in `state`."""

    def __init__(self, weights, state):
        self.weights, self.state = weights, state

    def linear(self, at, x):
        return x @ self.weights[f"{at}.weight"].T + self.weights[f"{at}.bias"]

    def conv(self, at, x, stride=1, padding=None):
        w = self.weights[f"{at}.weight"]
        kernel = w.shape[-1]
        padding = kernel // 2 if padding is None else padding
        side = (x.shape[-1] + 2 * padding - kernel) // stride + 1
        y = w.flatten(1) @ F.unfold(x, kernel, padding=padding, stride=stride)
        if f"{at}.bias" in self.weights:
            y = y + self.weights[f"{at}.bias"][:, None]
        return y.unflatten(2, (side, side))

    def norm(self, at, x):
        """BatchNorm."""
        count = x.numel() // x.shape[1]
        mean = x.mean((0, 2, 3))
        centred = x - mean[:, None, None]
        var = (centred * centred).mean((0, 2, 3))
        for key, new in (("running_mean", mean), ("running_var", var * count / (count - 1))):
            self.state[f"{at}.{key}"] = 0.9 * self.state[f"{at}.{key}"] + 0.1 * new.detach()
        scale = self.weights[f"{at}.weight"] / (var + 1e-5).sqrt()
        return scale[:, None, None] * centred + self.weights[f"{at}.bias"][:, None, None]

    def layer_norm(self, at, x):
        """Over the last dimension."""
        centred = x - x.mean(-1, keepdim=True)
        var = (centred * centred).mean(-1, keepdim=True)
        return self.weights[f"{at}.weight"] * centred / (var + 1e-5).sqrt() + self.weights[f"{at}.bias"]

    def pixel_norm(self, at, x):
        """LayerNorm over the channels of each pixel."""
        return self.layer_norm(at, x.movedim(1, 3)).movedim(3, 1)

    def conv_norm(self, conv, norm, x, stride=1):
        return self.norm(norm, self.conv(conv, x, stride))

    def downsample(self, at, x, stride):
        if f"{at}.downsample.0.weight" not in self.weights:
            return x
        return self.conv_norm(f"{at}.downsample.0", f"{at}.downsample.1", x, stride)

    def attention(self, at, x, heads, causal):
        length = x.shape[1]
        size = self.weights[f"{at}.qkv.weight"].shape[0] // (3 * heads)
        seen = torch.ones(length, length, dtype=x.dtype)
        seen = seen.tril() if causal else seen
        qkv = self.linear(f"{at}.qkv", x)
        mixed = []
        for head in range(heads):
            q, k, v = (qkv[:, :, i * size:(i + 1) * size] for i in (head, heads + head, 2 * heads + head))
            scores = q @ k.mT / math.sqrt(size)
            terms = (scores - scores.amax(-1, keepdim=True)).exp() * seen
            mixed.append(terms / terms.sum(-1, keepdim=True) @ v)
        return self.linear(f"{at}.proj", torch.cat(mixed, 2))

    def blocks(self, x, depth, heads, causal):
        """Pre-LN Transformer blocks and the normalisation after them."""
        for at in (f"blocks.{i}" for i in range(depth)):
            x = x + self.attention(f"{at}.attn", self.layer_norm(f"{at}.norm1", x), heads, causal)
            h = self.linear(f"{at}.mlp.fc1", self.layer_norm(f"{at}.norm2", x))
            x = x + self.linear(f"{at}.mlp.fc2", 0.5 * h * (1 + torch.erf(h / math.sqrt(2))))
        return self.layer_norm("norm", x)


# ---- logits of each model -------------------------------------------------------------------------

def stages(counts):
    """The name and stride of each block."""
    return [(f"layer{stage + 1}.{i}", 2 if stage > 0 and i == 0 else 1)
            for stage, count in enumerate(counts) for i in range(count)]


def mlp(p, spec, x):
    x, layers = x.flatten(1), len(spec["hidden"])
    for i in range(layers):
        x = relu(p.linear(f"fc{i + 1}", x))
    return p.linear(f"fc{layers + 1}", x)


def resnet8(p, spec, x):
    x = relu(p.conv_norm("conv1", "bn1", x))
    for at, stride in stages([1, 1, 1]):
        y = relu(p.conv_norm(f"{at}.conv1", f"{at}.bn1", x, stride))
        y = p.conv_norm(f"{at}.conv2", f"{at}.bn2", y)
        if stride == 2:
            half = torch.zeros_like(y[:, : y.shape[1] // 4])
            x = torch.cat([half, x[:, :, ::2, ::2], half], 1)
        x = relu(y + x)
    return p.linear("fc", x.mean((2, 3)))


def resnet18(p, spec, x):
    x = relu(p.conv_norm("conv1", "bn1", x))
    for at, stride in stages([2, 2, 2, 2]):
        y = relu(p.conv_norm(f"{at}.conv1", f"{at}.bn1", x, stride))
        x = relu(p.conv_norm(f"{at}.conv2", f"{at}.bn2", y) + p.downsample(at, x, stride))
    return p.linear("fc", x.mean((2, 3)))


def resnet50(p, spec, x):
    x = max_pool(relu(p.conv_norm("conv1", "bn1", x, 2)), 3, 2, 1)
    for at, stride in stages([3, 4, 6, 3]):
        y = relu(p.conv_norm(f"{at}.conv1", f"{at}.bn1", x))
        y = relu(p.conv_norm(f"{at}.conv2", f"{at}.bn2", y, stride))
        x = relu(p.conv_norm(f"{at}.conv3", f"{at}.bn3", y) + p.downsample(at, x, stride))
    return p.linear("fc", x.mean((2, 3)))


def wideresnet(p, spec, x):
    x = p.conv("conv1", x)
    for at, stride in stages([(spec["depth"] - 4) // 6] * 3):
        active = relu(p.norm(f"{at}.bn1", x))
        y = relu(p.conv_norm(f"{at}.conv1", f"{at}.bn2", active, stride))
        y = p.conv(f"{at}.conv2", y)
        x = y + (p.conv(f"{at}.shortcut", active, stride) if y.shape[1] != x.shape[1] else x)
    return p.linear("fc", relu(p.norm("bn", x)).mean((2, 3)))


def vgg11_bn(p, spec, x):
    for at, pool in ((0, True), (4, True), (8, False), (11, True), (15, False), (18, True), (22, False), (25, True)):
        x = relu(p.conv_norm(f"features.{at}", f"features.{at + 1}", x))
        x = max_pool(x, 2, 2) if pool else x
    x = relu(p.linear("classifier.0", x.flatten(1)))
    x = relu(p.linear("classifier.3", x))
    return p.linear("classifier.6", x)


def edge_cnn(p, spec, x):
    for i in (1, 2):
        x = max_pool(p.pixel_norm(f"norm{i}", relu(p.conv(f"conv{i}", x))), 2, 2)
    return p.linear("fc", x.movedim(1, 3).flatten(1))


def vit(p, spec, x):
    x = p.conv("patch_embed", x, stride=4, padding=0).flatten(2).mT + p.weights["pos_embed"]
    return p.linear("head", p.blocks(x, spec["depth"], spec["heads"], causal=False).mean(1))


def transformer(p, spec, x):
    x = p.weights["tok_embed.weight"][x] + p.weights["pos_embed"]
    return p.linear("head", p.blocks(x, spec["depth"], spec["heads"], causal=True)).flatten(0, 1)


def speednet(p, spec, x):
    x = relu(p.conv_norm("conv1", "bn1", x))
    for at in ("layer1", "layer2", "layer3"):
        x = relu(p.norm(f"{at}.bn1", max_pool(p.conv(f"{at}.conv1", x), 2, 2)))
        x = relu(p.conv_norm(f"{at}.conv2", f"{at}.bn2", x))
    return p.linear("fc", x.amax((2, 3)))


LOGITS = {"mlp": mlp, "resnet8": resnet8, "resnet18": resnet18, "resnet50": resnet50, "wideresnet": wideresnet,
          "vgg11-bn": vgg11_bn, "edge-cnn": edge_cnn, "vit": vit, "transformer": transformer, "speednet": speednet}


# ---- the steps ------------------------------------------------------------------------------------

def oracle(tensors, meta, noise=0.0):
    """The `loss.*` and `expected.*` of a case.

    `noise` disturbs every weight and image of every pass by that relative amount, as rounding would."""
    spec, opt, lrs = (json.loads(meta[k]) for k in ("model", "optimizer", "lr"))
    s = {k.removeprefix("init."): v.double() for k, v in tensors.items() if k.startswith("init.")}
    names = [k for k in s if "running_" not in k]
    velocity = {k: torch.zeros_like(s[k]) for k in names}

    def noisy(v):
        return v * (1 + noise * torch.randn(v.shape, dtype=v.dtype)) if noise and v.is_floating_point() else v

    def gradient(weights, x, y):
        p = {k: noisy(w).detach().requires_grad_() for k, w in weights.items()}
        z = LOGITS[spec["name"]](Pass(p, s), spec, noisy(x))
        loss = (z.logsumexp(1) - z[torch.arange(len(y)), y]).mean()
        return loss.detach(), dict(zip(p, torch.autograd.grad(loss, list(p.values()))))

    out = {}
    for k, lr in enumerate(lrs):
        x, y = tensors[f"input.{k}"], tensors[f"target.{k}"].flatten()
        x = x.double() if x.is_floating_point() else x
        loss, g = gradient({n: s[n] for n in names}, x, y)
        out[f"loss.{k}"] = loss.reshape(1)
        if opt["optimizer"] in ("sam", "ssam"):
            length = sum((g[n] ** 2).sum() for n in names).sqrt()
            if opt["optimizer"] == "sam":
                eps = {n: opt["rho"] * g[n] / (length + 1e-12) for n in names}
            else:
                eps = {n: tensors[f"mask.{n}"].double() * (opt["rho"] * g[n] / (length + 1e-7)) for n in names}
            _, g = gradient({n: s[n] + eps[n] for n in names}, x, y)
        for n in names:
            d = g[n] + opt["weight_decay"] * s[n]
            velocity[n] = opt["momentum"] * velocity[n] + d
            s[n] = s[n] - lr * (d + opt["momentum"] * velocity[n] if opt["nesterov"] else velocity[n])
    return out | {f"expected.{k}": v for k, v in s.items()}
