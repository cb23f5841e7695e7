"""The steps of a parity case by formula, in float64 and from the case alone.

Shares no code with models.py and make_cases.py, and uses neither nn.Module nor torch.optim, nor PyTorch's
convolution, pooling, normalisation, attention and loss: only the derivatives are PyTorch's.
"""
import json
import math
from functools import partial

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
    """The layers of one forward pass: named weights as arguments, running statistics updated in `state`, if given.

    With `masks`, gradients pass through convolutions and linear layers by the masked weights."""

    def __init__(self, weights, state, masks):
        self.weights, self.state, self.masks = weights, state, masks

    def product(self, at, product, x):
        """product(w, x), whose gradient to x is the masked weight's and whose gradient to w is not masked."""
        w = self.weights[f"{at}.weight"]
        if self.masks is None:
            return product(w, x)
        masked = (w * self.masks[f"{at}.weight"]).detach()
        return product(w, x.detach()) + product(masked, x) - product(masked, x.detach())

    def linear(self, at, x):
        return self.product(at, lambda w, x: x @ w.T, x) + self.weights[f"{at}.bias"]

    def conv(self, at, x, stride=1, padding=None):
        kernel = self.weights[f"{at}.weight"].shape[-1]
        padding = kernel // 2 if padding is None else padding
        side = (x.shape[-1] + 2 * padding - kernel) // stride + 1
        y = self.product(at, lambda w, x: w.flatten(1) @ F.unfold(x, kernel, padding=padding, stride=stride), x)
        if f"{at}.bias" in self.weights:
            y = y + self.weights[f"{at}.bias"][:, None]
        return y.unflatten(2, (side, side))

    def norm(self, at, x):
        """BatchNorm."""
        count = x.numel() // x.shape[1]
        mean = x.mean((0, 2, 3))
        centred = x - mean[:, None, None]
        var = (centred * centred).mean((0, 2, 3))
        if self.state is not None:
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


# ---- masks from scores ----------------------------------------------------------------------------

def best(units, scores):
    """Units (lists of places) by their mean score, the best first; sorting keeps the order of ties."""
    return sorted(units, key=lambda unit: -math.fsum(scores[i] for i in unit) / len(unit))


def selected(shapes, scores, pattern, sparsity, axis):
    """The places that a pattern selects. `shapes` by name, `scores` of all places, tensors in the order of names; `axis` of
    the groups in a matrix."""
    live, units, lines, start = [], [], [], 0
    for name in sorted(shapes):
        shape, size = shapes[name], math.prod(shapes[name])
        places = list(range(start, start + size))
        start += size
        if pattern == "tensor":
            units.append(places)
        elif pattern == "channel":
            length = size // shape[0]
            units += [places[i:i + length] for i in range(0, size, length)]
        elif pattern == "unstructured":
            units += [[i] for i in places]
        elif len(shape) == 1:
            live += places
        elif len(shape) == 2 and axis == "input":
            lines += [places[i:i + shape[1]] for i in range(0, size, shape[1])]
        else:
            lines += [places[i::size // shape[0]] for i in range(size // shape[0])]
    if units:
        budget = math.floor(start * (1 - sparsity) + 1e-6)
        for unit in best(units, scores):
            live += unit if len(live) < budget else []
    else:
        n, m = map(int, pattern.split(":"))
        for line in lines:
            for group in (line[i:i + m] for i in range(0, len(line), m)):
                live += sum(best([[i] for i in group], scores)[:math.ceil(len(group) * n / m)], [])
    return live


# ---- the loss and direction of each optimizer; `old` is what it keeps from step to step -----------

class Batch:
    """What an optimizer asks of some samples: losses and gradients. All vectors are flat, in the order of names."""

    def __init__(self, see, w, mask, opt, rows):
        self.see, self.w, self.mask, self.opt, self.rows = see, w, mask, opt, rows

    def first(self, masked=False):
        """The losses of the samples at w, and g."""
        return self.see(self.w, self.rows, True, masked)

    def update(self):
        """Whether passes after the first update running statistics."""
        return self.opt.get("batch_norm", "update") == "update"

    def losses(self, eps):
        """Of the samples at w + eps."""
        return self.see(self.w + eps, self.rows, self.update())[0]

    def second(self, eps, rows=None):
        """The gradient at w + eps, of all samples or of some."""
        return self.see(self.w + eps, self.rows if rows is None else rows, self.update())[1]

    def steepest(self, v):
        """The gradient at the distance rho in the direction v."""
        return self.second(self.opt["rho"] * v / (v.norm() + 1e-12))


def sgd(batch, opt, old):
    losses, g = batch.first()
    return losses.mean(), g


def sam(batch, opt, old):
    losses, g = batch.first()
    return losses.mean(), batch.steepest(g)


def ssam(batch, opt, old):
    implicit = opt.get("perturbation") == "implicit"
    losses, g = batch.first(masked=implicit)
    step = g if implicit else batch.mask * g
    norm = {"full": g, "masked": step, "lagged": old.get("g2", g)}[opt.get("norm", "full")].norm()
    old["g2"] = batch.second(opt["rho"] * step / (norm + 1e-7))
    return losses.mean(), old["g2"]


def asam(batch, opt, old):
    losses, g = batch.first()
    t = batch.w.abs() + opt["eta"]
    return losses.mean(), batch.second(opt["rho"] * t * t * g / ((t * g).norm() + 1e-12))


def gsam(batch, opt, old):
    losses, g = batch.first()
    g2 = batch.steepest(g)
    unit = g2 / g2.norm()
    return losses.mean(), g2 - opt["alpha"] * (g - (g @ unit) * unit)


def looksam(batch, opt, old):
    losses, g = batch.first()
    if old["step"] % opt["sam_interval"]:
        return losses.mean(), g + opt["alpha"] * g.norm() * old["gv"] / old["gv"].norm()
    g2, unit = batch.steepest(g), g / g.norm()
    old["gv"] = g2 - (g2 @ unit) * unit
    return losses.mean(), g2


def esam(batch, opt, old):
    assert opt["beta"] == 1, "which tensors a smaller beta perturbs is random"
    losses, g = batch.first()
    eps = opt["rho"] * g / (g.norm() + 1e-7)
    rise = (batch.losses(eps) - losses).tolist()
    cutoff = sorted(rise, reverse=True)[math.floor(opt["gamma"] * len(rise)) - 1]
    return losses.mean(), batch.second(eps, [i for i, one in enumerate(rise) if one > cutoff])


def ae_sam(batch, opt, old):
    losses, g = batch.first()
    n, part = (g * g).sum().item(), 1 - opt["delta"]
    old["mu"] = (1 - part) * old.get("mu", 0) + part * n
    old["var"] = (1 - part) * old.get("var", 0) + part * (n - old["mu"]) ** 2
    c = (1 - old["progress"]) * opt["threshold"][0] + old["progress"] * opt["threshold"][1]
    sharp = n >= old["mu"] + c * math.sqrt(old["var"])
    return losses.mean(), batch.steepest(g) if sharp else g


def f_sam(batch, opt, old):
    losses, g = batch.first()
    old["m"] = opt["lambda"] * old.get("m", 0 * g) + (1 - opt["lambda"]) * g
    return losses.mean(), batch.steepest(g - opt["sigma"] * old["m"])


def sam_on(batch, opt, old):
    losses, g = batch.first()
    return losses.mean(), batch.steepest(batch.mask * g)


def m_sam(batch, opt, old):
    loss, d = 0, 0
    count = len(batch.rows) // opt["shard"]
    for i in range(count):
        rows = batch.rows[i * opt["shard"]:(i + 1) * opt["shard"]]
        part, g2 = sam(Batch(batch.see, batch.w, None, opt, rows), opt, old)
        loss, d = loss + part / count, d + g2 / count
    return loss, d


def momentum_sam(batch, opt, old):
    v = old["velocity"]
    w = batch.w if old["step"] == 0 else batch.w - opt["rho"] * v / v.norm()
    losses, g = Batch(batch.see, w, None, opt, batch.rows).first()
    return losses.mean(), g


def s2_sam(batch, opt, old):
    before = old.get("before", torch.zeros_like(batch.w))
    w = batch.w if old["step"] == 0 else batch.w + opt["rho"] * before / before.norm()
    losses, g = Batch(batch.see, w, None, opt, batch.rows).first()
    old["before"] = g
    return losses.mean(), g


def late_sam(batch, opt, old):
    return (sam if old["progress"] >= opt["from"] else sgd)(batch, opt, old)


DIRECTIONS = {"sgd": sgd, "adamw": sgd, "sam": sam, "ssam": ssam, "asam": asam, "gsam": gsam, "looksam": looksam, "esam": esam,
              "ae-sam": ae_sam, "f-sam": f_sam, "sam-on": sam_on, "m-sam": m_sam,
              "momentum-sam": momentum_sam, "s2-sam": s2_sam, "late-sam": late_sam, "sam-layers": sam_on}


# ---- the curvature --------------------------------------------------------------------------------

def top_eigenvalue(product, v):
    """The eigenvalue of largest magnitude, by power iteration from v. Its error is at most the residual, and of the order
    of its square."""
    for _ in range(10000):
        v = v / v.norm()
        image = product(v)
        value = v @ image
        if (image - value * v).norm() < 1e-3 * value.abs():
            return value
        v = image
    raise SystemExit("two eigenvalues are too close for power iteration: take another seed")


# ---- the steps ------------------------------------------------------------------------------------

def oracle(tensors, meta, noise=0.0):
    """The `loss.*` and `expected.*` of a case, and its `product.*` and `eigenvalue`, if it has them.

    `noise` disturbs every weight and image of every pass by that relative amount, as rounding would."""
    spec, opt, lrs = (json.loads(meta[k]) for k in ("model", "optimizer", "lr"))
    smoothing = json.loads(meta.get("objective", "{}")).get("cross-entropy", {}).get("label_smoothing", 0)
    s = {k.removeprefix("init."): v.double() for k, v in tensors.items() if k.startswith("init.")}
    names = sorted(k for k in s if "running_" not in k)
    shapes = {k: s[k].shape for k in names}

    def flat(values):
        return torch.cat([values[k].flatten() for k in names])

    def apart(vector):
        parts = vector.split([math.prod(shapes[k]) for k in names])
        return {k: part.view(shapes[k]) for k, part in zip(names, parts)}

    def noisy(v):
        return v * (1 + noise * torch.randn(v.shape, dtype=v.dtype)) if noise and v.is_floating_point() else v

    def forward(x, y, w, rows, update, masked=False):
        """Noisy weights, and the losses of some samples; of text, the means over their tokens."""
        p = {k: noisy(v).detach().requires_grad_() for k, v in apart(w).items()}
        z = LOGITS[spec["name"]](Pass(p, s if update else None, masks if masked else None), spec, noisy(x[rows]))
        target = y[rows].flatten()
        wanted = torch.eye(z.shape[1], dtype=z.dtype)[target] * (1 - smoothing) + smoothing / z.shape[1]
        return p, (z.logsumexp(1) - (wanted * z).sum(1)).view(len(rows), -1).mean(1)

    def see(*args):
        """The losses of some samples, and the gradient of their mean."""
        p, losses = forward(*args)
        return losses.detach(), flat(dict(zip(p, torch.autograd.grad(losses.mean(), list(p.values())))))

    def curve(x, y, w, v):
        """The product of v with the Hessian of the mean loss."""
        p, losses = forward(x, y, w, list(range(len(x))), False)
        g = flat(dict(zip(p, torch.autograd.grad(losses.mean(), list(p.values()), create_graph=True))))
        return flat(dict(zip(p, torch.autograd.grad(g @ v, list(p.values())))))

    w, velocity, squares, mask, masks = flat(s), 0, 0, None, None
    adamw = "adamw" in (opt["optimizer"], opt.get("base"))
    if opt["optimizer"] == "ssam":
        mask = flat({k: tensors[f"mask.{k}"] for k in names}).double()
        masks = apart(mask)
    if "pattern" in opt:
        scores = flat({k: tensors[f"score.{k}"] for k in names}).tolist()
        axis = opt.get("group_axis", "output" if opt.get("perturbation") == "implicit" else "input")
        live = selected(shapes, scores, opt["pattern"], opt.get("sparsity"), axis)
        assert sorted(live) == mask.nonzero().flatten().tolist(), "mask.* is not what the pattern selects"
    if opt["optimizer"] == "sam-on":  # weights of one axis are those of normalisation layers
        layers = {k.removesuffix(".weight") for k in names if k.endswith(".weight") and len(shapes[k]) == 1}
        mask = flat({k: torch.full(shapes[k], float(k.rpartition(".")[0] in layers)) for k in names})
    if opt["optimizer"] == "sam-layers":
        mask = flat({k: torch.full(shapes[k], float(any(k.startswith(at) for at in opt["live"]))) for k in names})

    out, old = {}, {}
    for k, lr in enumerate(lrs):
        x, y = tensors[f"input.{k}"], tensors[f"target.{k}"]
        x = x.double() if x.is_floating_point() else x
        if k == 0 and "eigenvalue" in tensors:
            v = flat({k: tensors[f"direction.{k}"] for k in names}).double()
            out |= {f"product.{k}": part for k, part in apart(curve(x, y, w, v)).items()}
            if not noise:
                out["eigenvalue"] = top_eigenvalue(partial(curve, x, y, w), v).reshape(1)
        old |= {"step": k, "progress": k / len(lrs), "velocity": velocity}
        batch = Batch(partial(see, x, y), w, mask, opt, list(range(len(y))))
        loss, d = DIRECTIONS[opt["optimizer"]](batch, opt, old)
        out[f"loss.{k}"] = loss.reshape(1)
        if adamw:  # Loshchilov and Hutter 2019, algorithm 2
            beta1, beta2 = opt["momentum"], opt["beta2"]
            velocity = beta1 * velocity + (1 - beta1) * d
            squares = beta2 * squares + (1 - beta2) * d * d
            unbiased = velocity / (1 - beta1 ** (k + 1)), squares / (1 - beta2 ** (k + 1))
            w = w - lr * (unbiased[0] / (unbiased[1].sqrt() + 1e-8) + opt["weight_decay"] * w)
            continue
        d = d + opt["weight_decay"] * w
        velocity = opt["momentum"] * velocity + d
        w = w - lr * (d + opt["momentum"] * velocity if opt["nesterov"] else velocity)
    return out | {f"expected.{k}": v for k, v in (s | apart(w)).items()}
