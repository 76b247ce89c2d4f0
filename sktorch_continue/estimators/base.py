"""The shared base: parameters in, run out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.optim import Optimizer

from sktorch_continue import streams
from sktorch_continue.callbacks import Callback
from sktorch_continue.criteria import Objective
from sktorch_continue.data import ClassTarget, RealTarget, check_inputs
from sktorch_continue.data.dataset import joined
from sktorch_continue.data.inputs import Inputs, fits
from sktorch_continue.data.unlearned import UnlearnedDataset
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.diagram import block
from sktorch_continue.estimators.from_skorch import FromSkorch
from sktorch_continue.estimators.parameters import make_specification
from sktorch_continue.estimators.resume import resume
from sktorch_continue.estimators.reuse import fit_with
from sktorch_continue.estimators.storage import StoredRun
from sktorch_continue.estimators.stores import store_for
from sktorch_continue.estimators.tasks import CallbackSupport
from sktorch_continue.estimators.torch_data import is_data_set, reader_to_predict, refuse_loader
from sktorch_continue.estimators.verbs import carry_out
from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.history import History
from sktorch_continue.layers import Layers
from sktorch_continue.run import Run
from sktorch_continue.specification import Specification


class TorchEstimator(CallbackSupport, FromSkorch, StoredRun):
    """What :class:`TorchClassifier` and :class:`TorchRegressor` share; see there for the parameters.

    A subclass of either may add parameters of its own in ``__init__`` (and pass the rest on), or override
    ``_weight`` and ``_objective``; the checks in :mod:`sktorch_continue.testing` tell whether it still continues
    exactly.
    """

    _stratify: bool
    _target: ClassTarget | RealTarget
    _target_kind: type[ClassTarget] | type[RealTarget]
    _newest = False

    def __init__(
        self,
        module: type[nn.Module] | Callable[..., nn.Module] | nn.Module | None = None,
        *,
        criterion: Any = None,
        optimizer: Any = "Adam",
        lr: float = 1e-3,
        lr_scheduler: Any = None,
        lr_scheduler_interval: str = "epoch",
        lr_scheduler_monitor: str | None = None,
        lr_scheduler_on_continue: str = "continue",
        max_epochs: int = 200,
        batch_size: int = 128,
        shuffle: bool = True,
        drop_last: bool = False,
        validation_fraction: float | None = None,
        check_finite: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        device: str | torch.device = "cpu",
        callbacks: Sequence[Callback | tuple[str, Callback]] | None = None,
        verbose: int = 0,
        compile: bool = False,
        autocast: torch.dtype | str | None = None,
        grad_scaler: Any = None,
        num_threads: int | None = None,
        **module__and_other_parts: Any,  # named so that scikit-learn, which tries it as a parameter, may
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.optimizer = optimizer
        self.lr = lr
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        self.lr_scheduler_monitor = lr_scheduler_monitor
        self.lr_scheduler_on_continue = lr_scheduler_on_continue
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.validation_fraction = validation_fraction
        self.check_finite = check_finite
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.compile = compile
        self.autocast = autocast
        self.grad_scaler = grad_scaler
        self.num_threads = num_threads
        self._store_extra(module__and_other_parts)

    # ---- verbs ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train a new run for ``max_epochs`` epochs; with ``warm_start=True`` on a fitted estimator, continue.

        Parameters
        ----------
        X : array-like, frame, CSR matrix, tensor, or dict of those, of shape (n_samples, ...), or Dataset of torch
            Rows to train on. Float32 arrays and memory maps are used where they lie. A data set is read through a
            ``DataLoader``, once before the training as well.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Target; left out where X is a data set, which brings it.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows; a row of weight zero is left out.
        X_val, y_val, sample_weight_val : optional
            Validation rows, instead of ``validation_fraction``; `X_val` may be a data set as well.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For data or parameters that cannot be used; the estimator is left as it was.
        NonFiniteLossError
            If a step's loss is NaN or infinite; the run stands at the step before.
        CheckpointError
            If a :class:`Checkpoint` cannot write, or its folder belongs to another run.
        """
        verb = "continue_fit" if self.warm_start and self.__sklearn_is_fitted__() else "fit"
        call = Call(verb, X, y, self.max_epochs, sample_weight, X_val, y_val, sample_weight_val)
        store = store_for(self) if verb == "fit" else None
        if store is None:
            carry_out(self, call)
        else:
            fit_with(store, self, call)
        return self

    def continue_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        max_epochs: int | None = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the fitted run for more epochs, exactly as if it had never been interrupted.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val : optional but for X and y
            As in :meth:`fit`. Rows held out for validation before stay held out.
        max_epochs : int, optional
            Epochs to add; by default the parameter ``max_epochs``.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            If there is no run yet.
        ContinuationError
            If the run cannot go on with these data or parameters; nothing was changed.
        NonFiniteLossError, CheckpointError
            As :meth:`fit`.

        Warns
        -----
        ContinuationWarning
            Naming what a changed parameter drops.
        DataDriftWarning
            If the inputs are no longer like those the run was trained on.
        """
        check_is_fitted(self)
        asked = self.max_epochs if max_epochs is None else max_epochs
        carry_out(self, Call("continue_fit", X, y, asked, sample_weight, X_val, y_val, sample_weight_val))
        return self

    def resume_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Finish the run that was interrupted; start it when there is none, and do nothing when it is finished.

        One script serves the first start and every restart: the run goes on at the very step, from memory or from its
        newest sound checkpoint, to the total it was started for, or to ``max_epochs`` where that is larger by now.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val : as in :meth:`fit`
            The same rows in the same order as when the run was interrupted.
        path : path-like, optional
            Run folder, or a single checkpoint to go on from. By default the folder of the :class:`Checkpoint` among the
            callbacks, if there is one. Where there is none, the run is stored in the folder `path` as it trains.

        Returns
        -------
        self

        Raises
        ------
        ContinuationError
            If data, architecture, split, optimizer or other parameters that decide what is trained differ from those of
            the interrupted run; nothing was changed.
        CheckpointError, CorruptCheckpointError
            If another process is training this run, or there are checkpoints and none can be read.

        Warns
        -----
        ContinuationWarning
            Where damaged checkpoints were passed over, or callbacks of the run are dropped.

        Notes
        -----
        A run that a callback stopped is finished. While training, SIGTERM (which clusters send before they kill) ends
        the process with exit status 143 once a checkpoint is written; Ctrl-C is raised as usual.
        """
        call = Call("resume_fit", X, y, self.max_epochs, sample_weight, X_val, y_val, sample_weight_val)
        resume(self, call, path)
        return self

    # ---- predictions ----------------------------------------------------------------------------------------------

    def _predicted(self, X: Any, meaning: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        """Return what the module's outputs for X mean, found batch by batch; the run is not touched."""
        if not self.__sklearn_is_fitted__():  # asked first: scikit-learn's check takes as long as a small prediction
            check_is_fitted(self)
        run = self._run
        rows = self._rows_to_predict(X)
        layers = Layers(run.predictor(newest=self._newest))
        precision, forward, in_half = run.precision_of(layers), layers.forward, run.specification.autocast is not None
        with (
            streams.borrowed(run.device, wait=False) if layers.draw_in_evaluation else nullcontext(),
            run.evaluating(layers, torch_alone=layers.of_torch),
            closing(rows.batches(precision, self.batch_size)) as batches,
        ):
            outputs = (_as_rows(forward(batch), in_half) for batch in batches)
            return joined((meaning(output).cpu() for output in outputs), rows.n_rows)

    def _rows_to_predict(self, X: Any) -> Inputs | UnlearnedDataset:
        """Return rows that fit those the run was fitted on."""
        known = self._run.facts.row_shapes
        if is_data_set(X):
            item_bytes = 4 if self._run.facts.dtype == "float32" else 8
            return UnlearnedDataset(reader_to_predict(self, X), known, item_bytes)
        refuse_loader(X)
        inputs = check_inputs(self, X, reset=False)
        if not fits(inputs.row_shapes, known):
            shapes = {name: list(shape) for name, shape in inputs.row_shapes.items()}
            raise ValueError(f"rows of X have shapes {shapes}, but this estimator was fitted on {known}")
        return inputs

    # ---- what scikit-learn asks for -------------------------------------------------------------------------------

    def __sklearn_clone__(self) -> Self:
        copied: Self = super().__sklearn_clone__()
        store = store_for(self)
        if store is not None:
            copied._store = store  # also where the context is not, in another process
        return copied

    # ---- fitted names ---------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return "_run" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _sk_visual_block_(self) -> Any:
        return block(self)

    def _fitted(self, name: str) -> Run:
        if not self.__sklearn_is_fitted__():
            raise AttributeError(f"this {type(self).__name__} has no {name}: it is not fitted yet")
        return self._run

    @property
    def module_(self) -> nn.Module:
        """The module with its newest weights; ``predict`` may use better ones that a callback kept."""
        return self._fitted("module_").module

    @property
    def criterion_(self) -> nn.Module:
        """The criterion."""
        return self._fitted("criterion_").criterion

    @property
    def optimizer_(self) -> Optimizer:
        """The optimizer, with its moments."""
        run = self._fitted("optimizer_")
        if not run.can_train:
            raise AttributeError(f"this {type(self).__name__} was exported for serving and has no optimizer_")
        return run.optimizer

    @property
    def lr_scheduler_(self) -> Any:
        """The schedule, or None."""
        return self._fitted("lr_scheduler_").lr_scheduler

    @property
    def callbacks_(self) -> dict[str, Callback]:
        """The callbacks of the run, by name."""
        return self._fitted("callbacks_").callbacks

    @property
    def history_(self) -> History:
        """One row per epoch and one record per call, over all calls."""
        return self._fitted("history_").history

    @property
    def n_epochs_(self) -> int:
        """Completed epochs over all calls."""
        return self._fitted("n_epochs_").n_epochs

    @property
    def n_steps_(self) -> int:
        """Completed optimizer steps over all calls."""
        return self._fitted("n_steps_").n_steps

    @property
    def n_outputs_(self) -> int:
        """Outputs of the module per row."""
        return self._fitted("n_outputs_").facts.n_outputs

    # ---- what the kinds of target differ in -----------------------------------------------------------------------

    def _specification(self, params: dict[str, Any]) -> Specification:
        return make_specification(params, self._criterion_for_target())

    def _criterion_for_target(self) -> type[nn.Module]:
        raise NotImplementedError

    def _learn_target(self, y: Any, classes: Any) -> None:
        raise NotImplementedError

    def _objective(self, specification: Specification) -> Objective:
        raise NotImplementedError

    def _check_classes(self, classes: Any) -> None:
        raise ContinuationError(f"classes={classes!r} was given to an estimator that has none")

    def _weight(self, encoded: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        return sample_weight


def _as_rows(output: torch.Tensor, in_half: bool) -> torch.Tensor:
    """Return an output with its rows (a module may ``squeeze()`` a single one away), in a precision that NumPy has."""
    output = output if output.ndim else output[None]
    return output.float() if in_half else output
