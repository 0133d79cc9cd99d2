"""A PyTorch module exported by dynamo, called through ONNXProgram."""

import torch
from show import show


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.nn.functional.gelu(self.norm(self.conv(x)))
        return self.head(h.mean((2, 3))) * scale, h.amax((1, 2, 3))


torch.manual_seed(0)
net = Net().eval()
x, scale = torch.randn(2, 3, 16, 16), torch.tensor(2.0)
program = torch.onnx.export(net, (x, scale), dynamo=True, verbose=False)
found = program(x, scale)
wanted = net(x, scale)


class Rounded(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.bfloat16)


rounded = torch.onnx.export(Rounded(), (x,), dynamo=True, verbose=False)(x)[0]
show(
    outputs=[f.detach().flatten().tolist() for f in found],
    difference_is_small=[bool((f - w).abs().max() < 1e-5) for f, w in zip(found, wanted, strict=True)],
    bfloat16=[str(rounded.dtype), rounded.float().flatten()[:50].tolist()],
)
