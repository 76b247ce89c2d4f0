"""The loops a person would write by hand: the peers of every benchmark of training.

Three of them, slowest first: with a ``DataLoader``, as in the tutorials; with tensor batches and ``torch.optim``, as
somebody writes it who knows what costs; and the fastest one we could write. All take the same steps: one permutation an
epoch, Adam with torch's defaults, the last batch smaller where it has to be. Each counts its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LR, BETAS, EPS = 1e-3, (0.9, 0.999), 1e-8  # Adam's defaults in torch
GATHERED_BYTES = 256 << 10  # of X, that the fastest loop gathers at once


class HandLoop:
    """What the loops share: counting, validation, predicting.

    Parameters
    ----------
    module : nn.Module
        Trained in place.
    criterion : nn.Module
        Mean loss of a batch.
    batch_size : int
        Rows of a step.
    rate : callable, optional
        Step (from 0) -> learning rate: a schedule per step. By default the rate stays.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        batch_size: int,
        rate: Callable[[int], float] | None = None,
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.batch_size = batch_size
        self.rate = rate
        self.n_steps = 0
        self.loss = float("nan")

    def fit(
        self,
        X: torch.Tensor,
        y: torch.Tensor,
        n_epochs: int,
        valid: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Train some epochs, each followed by validation where rows for it are given."""
        self.module.train()
        for _ in range(n_epochs):
            self.loss = self.epoch(X, y)
            if valid is not None:
                self.module.eval()
                self.validate(*valid)
                self.module.train()

    def epoch(self, X: torch.Tensor, y: torch.Tensor) -> float:
        """Train one epoch and return its mean loss."""
        raise NotImplementedError

    @torch.inference_mode()
    def validate(self, X: torch.Tensor, y: torch.Tensor) -> float:
        """Return the mean loss over rows that are not trained on."""
        return float(self.criterion(self.module(X), y))


class DataLoaderLoop(HandLoop):
    """The loop of the tutorials: rows through a ``DataLoader``, ``.item()`` at every step."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=LR)

    def epoch(self, X: torch.Tensor, y: torch.Tensor) -> float:
        total = 0.0
        for xb, yb in DataLoader(TensorDataset(X, y), batch_size=self.batch_size, shuffle=True):
            if self.rate is not None:
                self.optimizer.param_groups[0]["lr"] = self.rate(self.n_steps)
            self.optimizer.zero_grad()
            loss = self.criterion(self.module(xb), yb)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(yb)
            self.n_steps += 1
        return total / len(y)


class TensorLoop(HandLoop):
    """Tensor batches by ``index_select``, fused Adam of ``torch.optim``, the loss summed without ``.item()``."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=LR, fused=True)

    def epoch(self, X: torch.Tensor, y: torch.Tensor) -> float:
        total = torch.zeros(())
        for rows in torch.randperm(len(y)).split(self.batch_size):
            if self.rate is not None:
                self.optimizer.param_groups[0]["lr"] = self.rate(self.n_steps)
            self.optimizer.zero_grad(set_to_none=True)
            target = y.index_select(0, rows)
            loss = self.criterion(self.module(X.index_select(0, rows)), target)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(target)
            self.n_steps += 1
        return float(total) / len(y)


class FastestLoop(HandLoop):
    """The fastest loop we could write for any module; whoever finds a faster one puts it here.

    Tried with 50-128-64-10 on one thread of an AMD EPYC, torch 2.13, as medians of paired rounds. All of it together
    takes .47 / .55 / .77 / .86 / .96 of :class:`TensorLoop` at batch 32 / 128 / 512 / 1024 / 4096. Kept:

    - Adam by the operation below ``Optimizer.step``, which costs 40 µs of Python, and one counter for all weights
    - the engine below ``Tensor.backward``, with the 1 it starts from made once
    - gradients set to None: the tensors that backward makes are used as they are
    - losses collected and added once an epoch
    - several batches gathered in one call, then cut into views (256 KiB of them: no more memory than that)
    - layers of a plain sequence, and the criterion, by their ``forward``: without a look for hooks, 8 µs a step
    - weights of linear layers looked up once, the counter's 1 as a tensor, and gradients switched off below
      ``torch.no_grad``: 14 µs a step

    Left out, since they were slower or no faster: one flat tensor of weights and one of gradients that the parameters
    are views of, with one zero-fill and one Adam over it (1.09 / 1.10 / 1.06 / 1.04 / 1.03: backward then adds to each
    gradient what it would hand over otherwise); gradients put together by ``torch.cat`` or flattened in one call;
    ``index_select`` into buffers that are kept; the whole epoch gathered at once, which is a copy of X; indexing
    ``X[rows]``; ``torch.autograd.grad``; ``torch.jit.trace`` of module and loss.

    Not tried: a backward pass written by hand, which is another model for every module.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.weights = list(self.module.parameters())
        self.moments = [torch.zeros_like(w) for w in self.weights], [torch.zeros_like(w) for w in self.weights]
        self.counter = torch.zeros(len(self.weights))
        self.one = torch.ones(())
        plain = type(self.module) is nn.Sequential
        self.line = [forward_of(layer) for layer in self.module] if plain else [self.module]

    def epoch(self, X: torch.Tensor, y: torch.Tensor) -> float:
        line, criterion, one, rate = self.line, self.criterion.forward, self.one, self.rate
        weights, moments, counter, counts = self.weights, self.moments, self.counter, list(self.counter.unbind())
        backward, adam = torch.autograd.Variable._execution_engine.run_backward, torch._fused_adam_
        gradients_wanted = torch._C._set_grad_enabled
        losses = []
        for step, (xb, yb) in enumerate(self.batches(X, y), self.n_steps):
            for weight in weights:
                weight.grad = None
            output = xb
            for forward in line:
                output = forward(output)
            loss = criterion(output, yb)
            backward((loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)
            losses.append(loss.detach())
            gradients_wanted(False)
            counter.add_(one)
            adam(
                weights,
                [weight.grad for weight in weights],
                *moments,
                [],
                counts,
                lr=LR if rate is None else rate(step),
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=0.0,
                eps=EPS,
                amsgrad=False,
                maximize=False,
            )
            gradients_wanted(True)
        self.n_steps += len(losses)
        total = torch.stack(losses)
        rest = len(y) - self.batch_size * (len(losses) - 1)
        return float(total[:-1].sum() * self.batch_size + total[-1] * rest) / len(y)

    def batches(self, X: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of an epoch, views of what was gathered for several of them."""
        size = self.batch_size
        several = size * max(1, GATHERED_BYTES // (X[0].numel() * X.element_size() * size))
        for rows in torch.randperm(len(y)).split(several):
            yield from zip(X.index_select(0, rows).split(size), y.index_select(0, rows).split(size), strict=True)


def forward_of(layer: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what a layer does, without looking up its weights every time."""
    if type(layer) is nn.Linear:
        return partial(nn.functional.linear, weight=layer.weight, bias=layer.bias)
    return layer.forward


LOOPS: dict[str, type[HandLoop]] = {"DataLoader": DataLoaderLoop, "tensor": TensorLoop, "fastest": FastestLoop}
