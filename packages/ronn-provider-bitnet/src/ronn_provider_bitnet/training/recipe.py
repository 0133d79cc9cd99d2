"""Training: a loss that follows a teacher, and a loop that suffices for small models."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

WARM_UP = 0.05  # of the steps, in which the rate rises
LARGEST_GRADIENT = 1.0


def distillation_loss(
    logits: Tensor, teacher: Tensor, labels: Tensor, *, share: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """``share`` of the divergence from the teacher's softened classes (Hinton et al., 2015), the rest cross-entropy.

    logits, teacher: float[..., classes]; labels: int64[...].
    """
    logits, teacher = logits.flatten(0, -2), teacher.flatten(0, -2)
    found, wanted = (functional.log_softmax(x / temperature, -1) for x in (logits, teacher))
    divergence = functional.kl_div(found, wanted, reduction="batchmean", log_target=True) * temperature**2
    return share * divergence + (1 - share) * functional.cross_entropy(logits, labels.flatten())


def fit(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], steps: int, *, rate: float = 1e-3,
    teacher: nn.Module | None = None, share: float = 0.5, temperature: float = 1.0,
) -> list[float]:  # fmt: skip
    """Trains a classifier for ``steps`` batches (inputs, labels) and gives the loss of each step.

    Adam (Kingma & Ba, 2015) without weight decay, which would pull latent weights over the thresholds of their
    quantisers; the rate rises to ``rate`` and falls to 0 in a half cosine. With a teacher the loss is
    ``distillation_loss``, else cross-entropy.
    """
    optimiser = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _part(step, steps))
    losses: list[float] = []
    model.train()
    for (x, labels), _ in zip(batches, range(steps), strict=False):
        logits = model(x)
        if teacher is None:
            loss = functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        else:
            with torch.no_grad():
                wanted = teacher.eval()(x)
            loss = distillation_loss(logits, wanted, labels, share=share, temperature=temperature)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses


def _part(step: int, steps: int) -> float:
    """Of the largest rate, in a step."""
    rising = (step + 1) / max(1.0, WARM_UP * steps)
    return min(rising, 0.5 + 0.5 * math.cos(math.pi * step / steps))
