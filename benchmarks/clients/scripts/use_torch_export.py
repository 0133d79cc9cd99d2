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
half = torch.onnx.export(
    torch.nn.Linear(4, 3).to(torch.bfloat16), (torch.ones(2, 4, dtype=torch.bfloat16),), dynamo=True
)
show(
    outputs=[f.detach().flatten().tolist() for f in found],
    difference_is_small=[bool((f - w).abs().max() < 1e-5) for f, w in zip(found, wanted, strict=True)],
    inputs_of_bfloat16=[i.name for i in half.model.graph.inputs],
)
