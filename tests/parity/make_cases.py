#!/usr/bin/env python3
"""Parity cases: short runs of SGD, SAM and its variants made by PyTorch, for another implementation to reproduce.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_cases.py             # writes cases/*.safetensors, next to this file
    venv/bin/python make_cases.py --check     # recomputes every stored case in float64, writes nothing
    venv/bin/python make_cases.py --out DIR   # another folder; works with --check too

The input is synthetic and every case is seeded, so a second run on one machine writes the same bytes;
`loss.*` and `expected.*` come out of float32 kernels and may differ in the last bits on another machine.

Both commands recompute each case in float64 by a second implementation (oracle.py) and print
  error   worst max|stored - recomputed| / max|recomputed| over the tensors; it has to stay below 2e-5
  shaken  the same, worst of DRAWS runs in which every weight and image of every pass is disturbed by a
          relative NOISE, ten times float32 rounding; it has to stay below the tolerance. A case fails this
          when a ReLU input lies so near zero that rounding decides its sign, or when the choice of a method
          (esam, ae-sam) is as close; then take another seed.

The format and the steps of each optimizer are described in docs/parity.md.
"""
import argparse
import copy
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch.nn.attention import SDPBackend, sdpa_kernel

import models
from oracle import oracle

FORMAT, TOLERANCE = "sharpbench-parity-1", "1e-4"
NOISE, DRAWS = 1e-6, 20

SAM = {"optimizer": "sam", "rho": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3}
OPTIMIZERS = {
    "sgd-plain": {"optimizer": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "sgd-momentum-wd": {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4},
    "sgd-nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "sam": SAM,
    "ssam": SAM | {"optimizer": "ssam"},
}


@dataclass
class Case:
    spec: dict
    optimizer: dict
    seed: int  # chosen by the two figures above
    input: list = field(default_factory=lambda: [3, 12, 12])
    batch: int = 8
    lrs: list = field(default_factory=lambda: [0.1, 0.09, 0.08, 0.06, 0.05])
    classes: int = 10
    unmasked: str = ""  # the tensor whose mask is all zero in an ssam case without a pattern
    curvature: bool = False  # whether it has the Hessian of the first batch too
    label_smoothing: float = 0.0


CASES = {}
for spec, unmasked, seeds in (
    ({"name": "mlp", "hidden": [24, 16]}, "fc2.weight", [2, 3, 8, 6, 10]),
    ({"name": "resnet8", "width": 4}, "layer2.0.conv1.weight", [3, 22, 29, 9, 40]),
):
    for (name, optimizer), seed in zip(OPTIMIZERS.items(), seeds, strict=True):
        CASES[f"{spec['name']}-{name}"] = Case(spec, optimizer, seed, unmasked=unmasked)
for spec, seed, shape, batch, lrs, rho in (
    ({"name": "resnet18", "width": 2}, 35, [3, 12, 12], 6, [0.1, 0.05], 0.1),
    ({"name": "resnet50", "width": 1}, 54, [3, 33, 33], 4, [0.05, 0.02], 0.05),
    ({"name": "wideresnet", "depth": 10, "width": 1}, 2, [3, 10, 10], 4, [0.1, 0.05], 0.1),
    ({"name": "vgg11-bn", "width": 2, "hidden": [16, 16], "dropout": 0.0}, 4, [3, 32, 32], 4, [0.1, 0.05], 0.1),
    ({"name": "edge-cnn", "width": 8}, 1, [3, 12, 12], 4, [0.1, 0.08, 0.05], 0.1),
    ({"name": "vit", "width": 16, "depth": 2, "heads": 2}, 2, [3, 16, 16], 6, [0.5, 0.4, 0.3], 0.1),
    ({"name": "transformer", "width": 16, "depth": 2, "heads": 2}, 1, [12], 6, [0.5, 0.4, 0.3], 0.1),
    ({"name": "speednet", "width": 4}, 10, [3, 16, 16], 8, [0.1, 0.08], 0.1),
):
    classes = models.VOCABULARY if spec["name"] == "transformer" else 10
    CASES[f"{spec['name']}-sam"] = Case(spec, SAM | {"rho": rho}, seed, shape, batch, lrs, classes)

RESNET = ({"name": "resnet8", "width": 4}, [3, 8, 8])
VIT = ({"name": "vit", "width": 16, "depth": 2, "heads": 2}, [3, 8, 8])
MLP = ({"name": "mlp", "hidden": [11, 9]}, [3, 5, 5])  # leaves incomplete groups of two
EDGE_CNN = ({"name": "edge-cnn", "width": 7}, [3, 12, 12])  # leaves incomplete groups of four
for (spec, shape), name, seed, optimizer in (
    (RESNET, "sam-freeze", 2, {"optimizer": "sam", "batch_norm": "freeze"}),
    (MLP, "ssam-masked", 289, {"optimizer": "ssam", "norm": "masked"}),
    (RESNET, "ssam-lagged", 34, {"optimizer": "ssam", "norm": "lagged"}),
    (RESNET, "ssam-unstructured", 22, {"optimizer": "ssam", "pattern": "unstructured", "sparsity": 0.8}),
    (RESNET, "ssam-tensor", 36, {"optimizer": "ssam", "norm": "masked", "pattern": "tensor", "sparsity": 0.5}),
    (RESNET, "ssam-channel", 14, {"optimizer": "ssam", "norm": "masked", "pattern": "channel", "sparsity": 0.5}),
    (RESNET, "ssam-channel-lagged", 14, {"optimizer": "ssam", "norm": "lagged", "pattern": "channel", "sparsity": 0.8}),
    (EDGE_CNN, "ssam-2-4", 315, {"optimizer": "ssam", "rho": 0.05, "pattern": "2:4"}),
    (MLP, "ssam-1-2", 207, {"optimizer": "ssam", "pattern": "1:2"}),
    (RESNET, "ssam-implicit", 2, {"optimizer": "ssam", "perturbation": "implicit", "pattern": "2:4"}),
    (RESNET, "asam", 27, {"optimizer": "asam", "rho": 0.5, "eta": 0.01}),
    (RESNET, "gsam", 64, {"optimizer": "gsam", "alpha": 0.4}),
    (RESNET, "looksam", 88, {"optimizer": "looksam", "alpha": 0.7, "sam_interval": 2}),
    (RESNET, "esam", 3, {"optimizer": "esam", "beta": 1.0, "gamma": 0.5}),
    (RESNET, "ae-sam", 49, {"optimizer": "ae-sam", "delta": 0.6, "threshold": [-1.0, 1.0]}),
    (RESNET, "f-sam", 14, {"optimizer": "f-sam", "lambda": 0.6, "sigma": 0.8}),
    (RESNET, "sam-on", 47, {"optimizer": "sam-on", "rho": 0.3}),
    (VIT, "sam-on", 10, {"optimizer": "sam-on", "rho": 0.3}),
    (RESNET, "m-sam", 18, {"optimizer": "m-sam", "shard": 4}),
    (RESNET, "momentum-sam", 24, {"optimizer": "momentum-sam", "rho": 0.05}),
    (RESNET, "s2-sam", 24, {"optimizer": "s2-sam", "rho": 0.05}),
    (RESNET, "late-sam", 24, {"optimizer": "late-sam", "from": 0.5}),
    (RESNET, "sam-layers", 24, {"optimizer": "sam-layers", "live": ["layer3", "fc"], "rho": 0.3}),
):
    unmasked = "layer2.0.conv1.weight" if spec["name"] == "resnet8" else "fc2.weight"
    CASES[f"{spec['name']}-{name}"] = Case(spec, SAM | optimizer, seed, shape, unmasked=unmasked)

CASES["resnet8-sam-label-smoothing"] = Case(RESNET[0], SAM, 2, RESNET[1], label_smoothing=0.1)

# Not of attention: the bias of keys has no gradient, and AdamW would divide rounding by rounding.
ADAMW = {"momentum": 0.8, "beta2": 0.95, "weight_decay": 0.1, "nesterov": False}
for optimizer in ({"optimizer": "adamw"}, {"optimizer": "sam", "base": "adamw", "rho": 0.1}):
    CASES[f"edge-cnn-{optimizer['optimizer']}-adamw".replace("adamw-adamw", "adamw")] = Case(
        EDGE_CNN[0], optimizer | ADAMW, 2, EDGE_CNN[1], lrs=[0.01, 0.008, 0.005])

SGD = OPTIMIZERS["sgd-plain"]
for spec, seed, shape in (
    ({"name": "mlp", "hidden": [24, 16]}, 2, [3, 12, 12]),
    ({"name": "resnet8", "width": 4}, 3, [3, 12, 12]),
    ({"name": "edge-cnn", "width": 8}, 1, [3, 12, 12]),
    ({"name": "speednet", "width": 2}, 14, [3, 16, 16]),
    ({"name": "vit", "width": 16, "depth": 2, "heads": 2}, 2, [3, 16, 16]),
    ({"name": "transformer", "width": 16, "depth": 1, "heads": 2}, 1, [12]),
):
    classes = models.VOCABULARY if spec["name"] == "transformer" else 10
    CASES[f"{spec['name']}-curvature"] = Case(spec, SGD, seed, shape, lrs=[0.1, 0.05], classes=classes, curvature=True)


# ---- making a case: nn.Module and torch.optim -----------------------------------------------------

def build(case):
    model = models.build(case.spec, case.input, case.classes)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):  # away from 1 and 0, where a mistake would not show
            # The blocks of resnet50 are so many that they magnify rounding, unless each adds little.
            nn.init.uniform_(module.weight, *((0.05, 0.15) if name.endswith(".bn3") else (0.5, 1.5)))
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(0.1, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    for name, p in model.named_parameters():
        if name in ("tok_embed.weight", "pos_embed"):
            nn.init.normal_(p, std=0.1)
    return model


def state(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items() if "num_batches" not in k}


class Batch:
    """The loss of a batch around the present weights. Gradients are flat, in the order of the model's parameters."""

    def __init__(self, model, x, y, freeze, smoothing=0.0):
        self.model, self.x, self.y, self.freeze, self.smoothing = model, x, y, freeze, smoothing
        self.params = list(model.parameters())

    def split(self, flat):
        return flat.split([p.numel() for p in self.params])

    def norm(self, flat):
        return torch.stack([part.norm() for part in self.split(flat)]).norm()

    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.params])

    def of_norms(self):
        """1 at the parameters of normalisation layers."""
        return torch.cat([torch.full([p.numel()], float(isinstance(module, nn.BatchNorm2d | nn.LayerNorm)))
                          for module in self.model.modules() for p in module.parameters(recurse=False)])

    def losses(self):
        """Of each sample; of text, the mean over its tokens."""
        losses = F.cross_entropy(self.model(self.x), self.y.flatten(), reduction="none", label_smoothing=self.smoothing)
        return losses.view(len(self.x), -1).mean(1)

    def gradient(self, rows=slice(None)):
        loss = F.cross_entropy(self.model(self.x[rows]), self.y[rows].flatten(), label_smoothing=self.smoothing)
        return loss.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.params)])

    def first(self):
        """The first pass: the loss of the step, and g."""
        self.loss, g = self.gradient()
        return g

    def second(self, eps, rows=slice(None)):
        """The gradient of the second pass, at w + eps."""
        with self.moved(eps), self.statistics_kept(self.freeze):
            return self.gradient(rows)[1]

    @contextmanager
    def moved(self, eps):
        """The weights at w + eps, put back by copy."""
        saved = [p.detach().clone() for p in self.params]
        with torch.no_grad():
            for p, e in zip(self.params, self.split(eps), strict=True):
                p.add_(e.view_as(p))
        yield
        with torch.no_grad():
            for p, w in zip(self.params, saved, strict=True):
                p.copy_(w)

    @contextmanager
    def statistics_kept(self, kept=True):
        """BatchNorm without running statistics to update; in train mode it does not read them."""
        layers = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        for layer in layers:
            layer.track_running_stats = not kept
        yield
        for layer in layers:
            layer.track_running_stats = True

    @contextmanager
    def masked_backward(self, masks):
        """The gradient passes through convolutions and linear layers by their masked weights; theirs stays dense."""
        def hook(name):
            def replace(layer, inputs, outputs):
                w = layer.weight * masks[f"{name}.weight"]
                if isinstance(layer, nn.Linear):
                    return (outputs[0] @ w,)
                return (nn.grad.conv2d_input(inputs[0].shape, w, outputs[0], layer.stride, layer.padding),)
            return replace
        # All but the first, which passes no gradient on.
        _, *layers = ((n, m) for n, m in self.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear))
        hooks = [layer.register_full_backward_hook(hook(name)) for name, layer in layers]
        yield
        for handle in hooks:
            handle.remove()


# ---- the direction of each optimizer; `kept` lives as long as the training ------------------------

def sgd(batch, opt, kept):
    return batch.first()


def sam(batch, opt, kept):
    """Foret et al. 2021."""
    g = batch.first()
    return batch.second(g * (opt["rho"] / (batch.norm(g) + 1e-12)))


def ssam(batch, opt, kept):
    """Mi et al. 2022; patterns and the implicit perturbation: the code of Mi et al. 2025."""
    if opt.get("perturbation") == "implicit":
        mask = 1
        with batch.masked_backward(kept["masks"]):
            g = batch.first()
    else:
        mask = torch.cat([kept["masks"][name].flatten() for name, _ in batch.model.named_parameters()])
        g = batch.first()
    match opt.get("norm", "full"):
        case "full":
            norm = batch.norm(g)
        case "masked":
            norm = batch.norm(g * mask)
        case "lagged":
            norm = kept.get("norm", batch.norm(g))
    d = batch.second(g * (opt["rho"] / (norm + 1e-7)) * mask)
    kept["norm"] = batch.norm(d)
    return d


def asam(batch, opt, kept):
    """Kwon et al. 2021."""
    g = batch.first()
    scale = batch.weights().abs() + opt["eta"]
    return batch.second(scale.square() * g * (opt["rho"] / (batch.norm(scale * g) + 1e-12)))


def gsam(batch, opt, kept):
    """Zhuang et al. 2022."""
    g = batch.first()
    d = batch.second(g * (opt["rho"] / (batch.norm(g) + 1e-12)))
    return d - opt["alpha"] * (g - g.dot(d) / d.dot(d) * d)


def looksam(batch, opt, kept):
    """Liu et al. 2022."""
    g = batch.first()
    if kept["step"] % opt["sam_interval"] == 0:
        d = batch.second(g * (opt["rho"] / (batch.norm(g) + 1e-12)))
        kept["sharp"] = d - g.dot(d) / g.dot(g) * g
        return d
    return g + opt["alpha"] * batch.norm(g) / batch.norm(kept["sharp"]) * kept["sharp"]


def esam(batch, opt, kept):
    """Du et al. 2022, with beta 1: a smaller one perturbs random tensors, which no other program draws alike."""
    with torch.no_grad(), batch.statistics_kept():
        before = batch.losses()
    g = batch.first()
    eps = g * (opt["rho"] / (batch.norm(g) + 1e-7))
    with torch.no_grad(), batch.moved(eps), batch.statistics_kept(batch.freeze):
        rise = batch.losses() - before
    cutoff = torch.topk(rise, int(opt["gamma"] * len(rise))).values[-1]
    return batch.second(eps, rise > cutoff)


def ae_sam(batch, opt, kept):
    """Jiang et al. 2023."""
    g = batch.first()
    n, delta = g.dot(g), opt["delta"]
    kept["mean"] = delta * kept.get("mean", 0) + (1 - delta) * n
    kept["var"] = delta * kept.get("var", 0) + (1 - delta) * (n - kept["mean"]) ** 2
    start, end = opt["threshold"]
    c = start + (end - start) * kept["step"] / kept["steps"]
    if n < kept["mean"] + c * kept["var"].sqrt():
        return g
    return batch.second(g * (opt["rho"] / (batch.norm(g) + 1e-12)))


def f_sam(batch, opt, kept):
    """Li et al. 2024."""
    g = batch.first()
    kept["mean"] = opt["lambda"] * kept.get("mean", 0) + (1 - opt["lambda"]) * g
    v = g - opt["sigma"] * kept["mean"]
    return batch.second(v * (opt["rho"] / (batch.norm(v) + 1e-12)))


def sam_on(batch, opt, kept):
    """Mueller et al. 2023."""
    g = batch.first() * batch.of_norms()
    return batch.second(g * (opt["rho"] / (batch.norm(g) + 1e-12)))


def m_sam(batch, opt, kept):
    """Foret et al. 2021, section 4.1; Andriushchenko and Flammarion 2022."""
    shards = [Batch(batch.model, x, y, batch.freeze, batch.smoothing)
              for x, y in zip(batch.x.split(opt["shard"]), batch.y.split(opt["shard"]), strict=True)]
    d = torch.stack([sam(shard, opt, kept) for shard in shards]).mean(0)
    batch.loss = torch.stack([shard.loss for shard in shards]).mean()
    return d


def momentum_sam(batch, opt, kept):
    """Becker et al. 2024: one gradient, rho away against the momentum, which is 0 in the first step."""
    states = [kept["state"][p] for p in batch.params]
    buffers = [state.get("momentum_buffer", state.get("exp_avg", torch.zeros_like(p)))
               for state, p in zip(states, batch.params, strict=True)]
    v = torch.cat([buffer.flatten() for buffer in buffers])
    with batch.moved(v * (-opt["rho"] / (batch.norm(v) + 1e-12))):
        return batch.first()


def s2_sam(batch, opt, kept):
    """Ji et al. 2024: one gradient, rho along the one of the step before, which is 0 before the first step."""
    before = kept.get("before", torch.zeros_like(batch.weights()))
    with batch.moved(before * (opt["rho"] / (batch.norm(before) + 1e-12))):
        kept["before"] = batch.first()
    return kept["before"]


def late_sam(batch, opt, kept):
    """Zhou et al. 2024."""
    return sgd(batch, opt, kept) if kept["step"] < opt["from"] * kept["steps"] else sam(batch, opt, kept)


def sam_layers(batch, opt, kept):
    g = torch.cat([part if any(name.startswith(at) for at in opt["live"]) else torch.zeros_like(part)
                   for (name, _), part in zip(batch.model.named_parameters(), batch.split(batch.first()))])
    return batch.second(g * (opt["rho"] / (batch.norm(g) + 1e-12)))


DIRECTIONS = {"sgd": sgd, "adamw": sgd, "sam": sam, "ssam": ssam, "asam": asam, "gsam": gsam, "looksam": looksam, "esam": esam,
              "ae-sam": ae_sam, "f-sam": f_sam, "sam-on": sam_on, "m-sam": m_sam,
              "momentum-sam": momentum_sam, "s2-sam": s2_sam, "late-sam": late_sam, "sam-layers": sam_layers}


def train(model, batches, opt, lrs, masks, smoothing):
    """Runs the steps in place; the loss of each first pass."""
    params = list(model.parameters())
    if "adamw" in (opt["optimizer"], opt.get("base")):
        base = torch.optim.AdamW(params, lr=lrs[0], betas=(opt["momentum"], opt["beta2"]),
                                 weight_decay=opt["weight_decay"])
    else:
        base = torch.optim.SGD(params, lr=lrs[0], momentum=opt["momentum"],
                               weight_decay=opt["weight_decay"], nesterov=opt["nesterov"])
    model.train()
    losses, kept = [], {"masks": masks, "steps": len(lrs), "state": base.state}
    for step, ((x, y), lr) in enumerate(zip(batches, lrs, strict=True)):
        base.param_groups[0]["lr"], kept["step"] = lr, step
        batch = Batch(model, x, y, opt.get("batch_norm") == "freeze", smoothing)
        d = DIRECTIONS[opt["optimizer"]](batch, opt, kept)
        for p, part in zip(params, batch.split(d), strict=True):
            p.grad = part.view_as(p)
        base.step()
        losses.append(batch.loss.reshape(1))
    return losses


def best_units(scores, pattern, sparsity):
    """The mask of the units with the largest mean score, best first, until it has its count of scalars."""
    names = sorted(scores)
    units = {n: {"unstructured": s.numel(), "channel": len(s), "tensor": 1}[pattern] for n, s in scores.items()}
    parts = [scores[n].double().reshape(units[n], -1) for n in names]
    order = torch.cat([part.mean(1) for part in parts]).argsort(descending=True, stable=True)
    sizes = torch.cat([torch.full([len(part)], part.shape[1]) for part in parts])[order]
    budget = int(sizes.sum().item() * (1 - sparsity) + 1e-6)
    live = torch.zeros(len(order), dtype=torch.uint8)
    live[order] = (sizes.cumsum(0) - sizes < budget).to(torch.uint8)
    chosen = zip(names, parts, live.split([units[n] for n in names]), strict=True)
    return {n: flags[:, None].expand_as(part).reshape(scores[n].shape).contiguous() for n, part, flags in chosen}


def best_of_groups(scores, live, of, axis):
    """1 at the `live` largest of every `of` scores along output channels (convolutions), or an axis of matrices."""
    if scores.dim() == 1:
        return torch.ones_like(scores, dtype=torch.uint8)
    rows = scores.dim() == 2 and axis == "input"
    lines = scores if rows else scores.movedim(0, -1)
    mask = torch.zeros_like(lines, dtype=torch.uint8)
    for group, flags in zip(lines.split(of, -1), mask.split(of, -1), strict=True):
        count = -(-group.shape[-1] * live // of)
        flags.scatter_(-1, group.argsort(dim=-1, descending=True, stable=True)[..., :count], 1)
    return (mask if rows else mask.movedim(-1, 0)).contiguous()


def select(scores, opt):
    """The masks of a pattern; ties go to the first, tensors in name order."""
    if ":" in opt["pattern"]:
        live, of = map(int, opt["pattern"].split(":"))
        axis = opt.get("group_axis", "output" if opt.get("perturbation") == "implicit" else "input")
        return {name: best_of_groups(s, live, of, axis) for name, s in scores.items()}
    return best_units(scores, opt["pattern"], opt["sparsity"])


def images(case):
    # Four of the ten classes, told apart by colour and by pattern, so that the loss falls within a few steps.
    used = torch.randperm(case.classes)[:4]
    channels, *side = case.input
    centres = torch.randn(case.classes, channels, 1, 1) + 0.5 * torch.randn(case.classes, channels, *side)
    batches = []
    for _ in case.lrs:
        y = used[torch.randint(len(used), (case.batch,))]
        batches.append((centres[y] + 0.5 * torch.randn(case.batch, channels, *side), y))
    return batches


def text(case):
    # Three tokens in four are the one that always follows the token before, of a few; the others are any token.
    follower = torch.randint(12, (case.classes,)) * 7
    batches = []
    for _ in case.lrs:
        tokens = torch.randint(case.classes, (case.batch, case.input[0] + 1))
        for i in range(case.input[0]):
            tokens[:, i + 1] = torch.where(torch.rand(case.batch) < 0.75, follower[tokens[:, i]], tokens[:, i + 1])
        batches.append((tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()))
    return batches


def curvature(model, x, y):
    """The product of the Hessian with a random direction, and its eigenvalue of largest magnitude, in float64 by
    differentiating twice. Batch statistics, as in training."""
    model = copy.deepcopy(model).double().train()
    batch = Batch(model, x.double() if x.is_floating_point() else x, y, freeze=True)

    def product(v):
        with batch.statistics_kept(), sdpa_kernel(SDPBackend.MATH):  # the others can be differentiated only once
            g = torch.autograd.grad(F.cross_entropy(model(batch.x), y.flatten()), batch.params, create_graph=True)
            along = sum((g * part.view_as(g)).sum() for g, part in zip(g, batch.split(v), strict=True))
            return torch.cat([part.flatten() for part in torch.autograd.grad(along, batch.params)])

    v = torch.randn(sum(p.numel() for p in batch.params)).double()
    image = product(v)
    tensors = {"eigenvalue": ritz_value(product, v).float().reshape(1)}
    for (name, p), direction, along in zip(model.named_parameters(), batch.split(v), batch.split(image), strict=True):
        tensors[f"direction.{name}"] = direction.view_as(p).float()
        tensors[f"product.{name}"] = along.view_as(p).float()
    return tensors


def ritz_value(product, v, size=100):
    """The eigenvalue of largest magnitude, from an orthonormal basis of the Krylov space of v."""
    basis, images = [], []
    for _ in range(size):
        for _ in range(2):
            for b in basis:
                v = v - b.dot(v) * b
        basis.append(v / v.norm())
        v = product(basis[-1])
        images.append(v)
    small = torch.stack(basis) @ torch.stack(images).T
    values = torch.linalg.eigvalsh((small + small.T) / 2)
    return values[values.abs().argmax()]


def make(case):
    torch.manual_seed(case.seed)
    model, opt = build(case), case.optimizer
    batches = text(case) if len(case.input) == 1 else images(case)
    masks, scores = {}, {}
    if "pattern" in opt:  # of 64 values: there are ties, and sums are exact in any order
        scores = {name: torch.randint(1, 65, p.shape) / 64 for name, p in model.named_parameters()}
        masks = select(scores, opt)
    elif opt["optimizer"] == "ssam":
        for name, p in model.named_parameters():
            density = 0.0 if name == case.unmasked else torch.empty(1).uniform_(0.1, 0.4).item()
            masks[name] = (torch.rand(p.shape) < density).to(torch.uint8)
    tensors = {f"init.{k}": v for k, v in state(model).items()}
    tensors |= curvature(model, *batches[0]) if case.curvature else {}
    losses = train(model, batches, opt, case.lrs, masks, case.label_smoothing)
    for k, (x, y) in enumerate(batches):
        tensors |= {f"input.{k}": x, f"target.{k}": y, f"loss.{k}": losses[k]}
    tensors |= {f"score.{k}": v for k, v in scores.items()} | {f"mask.{k}": v for k, v in masks.items()}
    tensors |= {f"expected.{k}": v for k, v in state(model).items()}
    metadata = {"format": FORMAT, "model": json.dumps(case.spec), "optimizer": json.dumps(opt),
                "lr": json.dumps(case.lrs), "tolerance": TOLERANCE,
                "generator": "PyTorch " + torch.__version__.split("+")[0]}
    if case.label_smoothing:
        metadata["objective"] = json.dumps({"cross-entropy": {"label_smoothing": case.label_smoothing}})
    return tensors, metadata


# ---- files and figures ----------------------------------------------------------------------------

def errors(tensors, meta, noise=0.0):
    """max|stored - recomputed| / max|recomputed| for every loss and every expected tensor, and for the curvature."""
    exact = oracle(tensors, meta, noise)
    stored = {k for k in tensors if k.startswith(("loss.", "expected.", "product.")) or k == "eigenvalue" and not noise}
    assert stored == set(exact), f"tensors differ: {sorted(stored ^ set(exact))}"
    return {k: ((tensors[k].double() - v).abs().max() / v.abs().max()).item() for k, v in exact.items()}


def write(path, tensors, meta):
    """save_file, but the same bytes every time: safetensors writes the metadata in a random order."""
    data = save(tensors, meta)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(meta.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def load(path):
    with safe_open(path, "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, f.metadata()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="recompute the stored cases, write nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "cases")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.check:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, case in CASES.items():
            write(args.out / f"{name}.safetensors", *make(case))
    bad, paths = False, sorted(args.out.glob("*.safetensors"))
    for path in paths:
        tensors, meta = load(path)
        assert meta["format"] == FORMAT, path
        found = errors(tensors, meta)
        worst = max(found, key=found.get)
        losses = " ".join(f"{tensors[f'loss.{k}'].item():.3f}" for k in range(len(json.loads(meta["lr"]))))
        torch.manual_seed(0)
        shaken = max(max(errors(tensors, meta, NOISE).values()) for _ in range(DRAWS))
        print(f"{path.stem:27} error {found[worst]:.1e} ({worst}), shaken {shaken:.1e}, loss {losses}")
        if args.check:
            for key, value in found.items():
                print(f"    {value:.1e}  {key}")
        bad |= not (found[worst] < 2e-5 and shaken < float(meta["tolerance"]))
    print(f"{len(paths)} cases, {sum(p.stat().st_size for p in paths)} bytes")
    if bad or not paths:
        raise SystemExit("no cases, or a figure is over its limit")


if __name__ == "__main__":
    main()
