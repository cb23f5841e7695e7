#!/usr/bin/env python3
"""The models in PyTorch, for make_cases.py and for benches/pytorch.

    models.py     # checks the numbers of parameters

The names and shapes of the parameters are the interface: another implementation reads the cases by them.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCABULARY = 128
DEFAULTS = {  # every model, with the keys that its specification may have
    "mlp": {"hidden": [256, 128]},
    "edge-mlp": {"hidden": [1000, 1000, 1000]},
    "resnet8": {"width": 16},
    "resnet20": {"width": 16},
    "resnet32": {"width": 16},
    "resnet18": {"width": 64},
    "resnet34": {"width": 64},
    "resnet50": {"width": 64},
    "wideresnet": {"depth": 28, "width": 10},
    "vgg11-bn": {"width": 64, "hidden": [4096, 4096], "dropout": 0.5},
    "edge-cnn": {"width": 16},
    "vit": {"width": 192, "depth": 9, "heads": 12},
    "transformer": {"width": 128, "depth": 6, "heads": 8},
    "speednet": {"width": 64},
}


def conv(inputs, outputs, kernel, stride=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        sizes = [inputs, *hidden, classes]
        self.depth = len(sizes) - 1
        for i in range(self.depth):
            setattr(self, f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.depth):
            x = F.relu(getattr(self, f"fc{i}")(x))
        return getattr(self, f"fc{self.depth}")(x)


# ---- residual networks ----------------------------------------------------------------------------

class PaddedBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut (option A of He et al.)."""
    expansion = 1

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = conv(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.pad = stride, (planes - inputs) // 2  # planes // 4 where the width doubles

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


def downsample(inputs, outputs, stride):
    """The shortcut: option B of He et al."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = conv(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample(inputs, planes, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """The stride is the 3x3 convolution's (torchvision's "v1.5")."""
    expansion = 4

    def __init__(self, inputs, planes, stride):
        super().__init__()
        outputs = self.expansion * planes
        self.conv1 = conv(inputs, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv(planes, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = downsample(inputs, outputs, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(nn.Module):
    """One stage per entry of `blocks`, each twice as wide as the one before."""

    def __init__(self, channels, block, blocks, width, classes, imagenet_stem=False):
        super().__init__()
        self.conv1 = conv(channels, width, 7, 2) if imagenet_stem else conv(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if imagenet_stem else nn.Identity()
        inputs, self.stages = width, len(blocks)
        for stage, count in enumerate(blocks):
            planes, layer = width << stage, []
            for i in range(count):
                layer.append(block(inputs, planes, 2 if stage > 0 and i == 0 else 1))
                inputs = block.expansion * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


class WideBlock(nn.Module):
    """BatchNorm and ReLU before each convolution; a projected shortcut starts after the first ReLU."""

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3)
        self.shortcut = conv(inputs, planes, 1, stride) if inputs != planes else None

    def forward(self, x):
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    def __init__(self, channels, depth, factor, classes):
        super().__init__()
        inputs = 16
        self.conv1 = conv(channels, inputs, 3)
        for stage in range(3):
            planes, layer = 16 * factor << stage, []
            for i in range((depth - 4) // 6):
                layer.append(WideBlock(inputs, planes, 2 if stage > 0 and i == 0 else 1))
                inputs = planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


# ---- other convolutional networks -----------------------------------------------------------------

class Vgg11(nn.Module):
    """On 32x32, of which the poolings leave one pixel."""

    def __init__(self, channels, width, hidden, dropout, classes):
        super().__init__()
        features, inputs = [], channels
        for widths, pool in ((1, 1), (2, 1), (4, 0), (4, 1), (8, 0), (8, 1), (8, 0), (8, 1)):
            features += [conv(inputs, widths * width, 3, bias=True), nn.BatchNorm2d(widths * width), nn.ReLU()]
            features += [nn.MaxPool2d(2)] * pool
            inputs = widths * width
        self.features = nn.Sequential(*features)
        classifier = []
        for units in hidden:
            classifier += [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout)]
            inputs = units
        self.classifier = nn.Sequential(*classifier, nn.Linear(inputs, classes))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class EdgeCnn(nn.Module):
    """LayerNorm is over the channels of a pixel; the last layer reads rows, columns, channels in that order."""

    def __init__(self, channels, height, breadth, width, classes):
        super().__init__()
        self.conv1 = conv(channels, width, 3, bias=True)
        self.norm1 = nn.LayerNorm(width)
        self.conv2 = conv(width, 2 * width, 3, bias=True)
        self.norm2 = nn.LayerNorm(2 * width)
        self.fc = nn.Linear(2 * width * (height // 4) * (breadth // 4), classes)

    def forward(self, x):
        for layer, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = norm(F.relu(layer(x)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            x = F.max_pool2d(x, 2)
        return self.fc(x.permute(0, 2, 3, 1).flatten(1))


class SpeedGroup(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = F.relu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.relu(self.bn2(self.conv2(x)))


class SpeedNet(nn.Module):
    def __init__(self, channels, width, classes):
        super().__init__()
        self.conv1 = conv(channels, width // 2, 3)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.layer1 = SpeedGroup(width // 2, width)
        self.layer2 = SpeedGroup(width, 4 * width)
        self.layer3 = SpeedGroup(4 * width, 4 * width)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).amax((2, 3)))


# ---- Transformers ---------------------------------------------------------------------------------

class Attention(nn.Module):
    def __init__(self, width, heads, size, causal):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * heads * size)
        self.proj = nn.Linear(heads * size, width)
        self.heads, self.causal = heads, causal

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(y.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    """Pre-LN; a head's keys have `size` values."""

    def __init__(self, width, heads, size, hidden, causal):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, size, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Patches of 4x4, no class token: the head reads the mean over the tokens."""

    def __init__(self, channels, height, breadth, width, depth, heads, classes):
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, width, 4, 4)
        self.pos_embed = nn.Parameter(0.02 * torch.randn((height // 4) * (breadth // 4), width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, width // heads, 2 * width, False)
                                      for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x + self.pos_embed)).mean(1))


class Transformer(nn.Module):
    """Tokens [batch, length] to logits [batch * length, vocabulary]; keys twice as wide in all as the tokens."""

    def __init__(self, length, vocabulary, width, depth, heads):
        super().__init__()
        self.tok_embed = nn.Embedding(vocabulary, width)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, 2 * width // heads, 4 * width, True)
                                      for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        nn.init.normal_(self.tok_embed.weight, std=0.02)

    def forward(self, x):
        x = self.blocks(self.tok_embed(x) + self.pos_embed)
        return self.head(self.norm(x)).flatten(0, 1)


# ---- by name --------------------------------------------------------------------------------------

def build(spec, input, classes):
    """`spec` as in a suite's `model`; `input` is [channels, height, width], or [length] of the transformer, whose
    vocabulary is `classes`."""
    name, spec = spec["name"], DEFAULTS[spec["name"]] | spec
    unknown = spec.keys() - DEFAULTS[name].keys() - {"name"}
    if unknown:
        raise ValueError(f"{sorted(unknown)} does not apply to {name}")
    width = spec.get("width")
    match name:
        case "mlp" | "edge-mlp":
            return Mlp(math.prod(input), spec["hidden"], classes)
        case "resnet8":
            return ResNet(input[0], PaddedBlock, [1, 1, 1], width, classes)
        case "resnet20":
            return ResNet(input[0], PaddedBlock, [3, 3, 3], width, classes)
        case "resnet32":
            return ResNet(input[0], PaddedBlock, [5, 5, 5], width, classes)
        case "resnet18":
            return ResNet(input[0], BasicBlock, [2, 2, 2, 2], width, classes)
        case "resnet34":
            return ResNet(input[0], BasicBlock, [3, 4, 6, 3], width, classes)
        case "resnet50":
            return ResNet(input[0], Bottleneck, [3, 4, 6, 3], width, classes, imagenet_stem=True)
        case "wideresnet":
            return WideResNet(input[0], spec["depth"], width, classes)
        case "vgg11-bn":
            return Vgg11(input[0], width, spec["hidden"], spec["dropout"], classes)
        case "edge-cnn":
            return EdgeCnn(*input, width, classes)
        case "vit":
            return Vit(*input, width, spec["depth"], spec["heads"], classes)
        case "transformer":
            return Transformer(*input, classes, width, spec["depth"], spec["heads"])
        case "speednet":
            return SpeedNet(input[0], width, classes)


def main():
    cifar, imagenet = [3, 32, 32], [3, 224, 224]
    counts = [  # of the default specifications
        ("resnet18", cifar, 10, 11_173_962),
        ("resnet18", cifar, 100, 11_220_132),
        ("resnet34", cifar, 10, 21_282_122),
        ("resnet50", imagenet, 1000, 25_557_032),
        ("wideresnet", cifar, 10, 36_479_194),
        ("wideresnet", cifar, 100, 36_536_884),
        ("vgg11-bn", cifar, 10, 28_149_514),
        ("edge-cnn", cifar, 10, 25_674),
        ("transformer", [64], VOCABULARY, 1_626_496),
    ]
    for name, shape, classes, expected in counts:
        with torch.device("meta"):
            found = sum(p.numel() for p in build({"name": name}, shape, classes).parameters())
        print(f"{name:12} {classes:4} classes {found:11,}")
        assert found == expected, f"expected {expected:,}"


if __name__ == "__main__":
    main()
