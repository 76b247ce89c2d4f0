"""Regression."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from torch import nn

from sktorch_continue.criteria import Objective, real_objective
from sktorch_continue.data import RealTarget
from sktorch_continue.estimators.base import TorchEstimator
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.torch_data import targets
from sktorch_continue.estimators.verbs import carry_out
from sktorch_continue.specification import Specification


class TorchRegressor(RegressorMixin, TorchEstimator):
    """Regressor around a PyTorch module that goes on training exactly where it stopped.

    Parameters
    ----------
    module : None, nn.Module subclass, callable or nn.Module, default=None
        What is trained. None is the built-in :class:`MLP` in the precision of X; a class or callable is called with
        ``module__x`` and, where it takes them, ``n_features_in`` and ``n_outputs``; an instance is copied, its weights
        are the start (fine-tuning).
    criterion : None, str, class, callable or nn.Module, default=None
        None is ``MSELoss``. Names are those of ``torch.nn``; a loss function of two arguments works as well.
        ``criterion__x`` goes to the constructor.
    optimizer : str, class or callable, default="Adam"
        Of ``torch.optim``, called with all parameters, ``lr`` and ``optimizer__x``. The fused implementation is taken
        where torch has one, unless ``optimizer__fused`` or ``optimizer__foreach`` says otherwise.
    lr : float, default=1e-3
        Learning rate before any schedule.
    lr_scheduler : None, str, class or callable, default=None
        Of ``torch.optim.lr_scheduler``, or anything with its interface, called with the optimizer and
        ``lr_scheduler__x``. A horizon that is left out (``T_max``, ``total_iters``, ``total_steps``, ``epochs`` and
        ``steps_per_epoch``) is filled in from ``max_epochs``.
    lr_scheduler_interval : {"epoch", "step"}, default="epoch"
        When the schedule steps.
    lr_scheduler_monitor : str, optional
        Column of the history that ``ReduceLROnPlateau`` reads; by default ``valid_loss`` where there are validation
        rows, else ``train_loss``.
    lr_scheduler_on_continue : {"continue", "extend", "restart"}, default="continue"
        When more epochs are trained: the schedule goes on where it was; its horizon becomes epochs so far + epochs of
        the call; a new schedule starts for the call.
    max_epochs : int, default=200
        Epochs of a ``fit``, or that ``continue_fit`` adds.
    batch_size : int, default=128
        Rows per step.
    shuffle : bool, default=True
        Train each epoch in a new order.
    drop_last : bool, default=False
        Leave out the last batch of an epoch where it is smaller.
    validation_fraction : float, optional
        Share of the rows held out, for good: no later call trains on them.
    check_finite : bool, default=True
        Raise before a step whose loss is NaN or infinite.
    warm_start : bool, default=False
        Let ``fit`` on a fitted estimator do what ``continue_fit`` does.
    random_state : int, RandomState or None, default=None
        Of weights, order, noise and split; None draws from the operating system, NumPy's global stream is never
        touched.
    device : str or torch.device, default="cpu"
        Where to train and predict.
    callbacks : list of Callback or of (name, Callback), optional
        Prototypes, never changed; the run's own copies are in ``callbacks_``.
    verbose : int, default=0
        1 shows how far a call is: a line that moves in a terminal and a notebook (by tqdm, where it is installed),
        plain lines elsewhere. 2 prints a row per epoch.
    compile : bool, default=False
        Send training steps through ``torch.compile``.
    autocast : None, {"bfloat16", "float16"} or torch.dtype, default=None
        Compute the module in this precision where torch finds it safe (``torch.autocast``), to train, validate and
        predict; weights stay float32.
    grad_scaler : None, str, class or callable, default=None
        ``"GradScaler"``, or what returns a ``torch.amp.GradScaler``, called with ``grad_scaler__x``: scales the loss,
        so that gradients survive in float16. A step whose gradients overflow moves no weights.
    num_threads : int, optional
        Threads of an operation while training on the CPU. By default one where a step is small, else as many as the
        process had when the run began; afterwards the process has what it had.
    dataloader__x : optional
        Arguments of the ``DataLoader`` that reads a data set of torch: ``num_workers``, ``collate_fn``, ``sampler``,
        ``worker_init_fn``, ``multiprocessing_context``, ``pin_memory``, ``prefetch_factor``, ``persistent_workers``,
        ``timeout``. Refused where X is an array.

    Attributes
    ----------
    module_, criterion_, optimizer_, lr_scheduler_ : object
        The living parts; ``lr_scheduler_`` may be None.
    callbacks_ : dict of str to Callback
        The run's callbacks by name.
    history_ : History
        One row per epoch and one record per call.
    n_epochs_, n_steps_ : int
        Completed epochs and optimizer steps over all calls.
    n_features_in_ : int
        Columns of X (values per row where X is a dict).
    feature_names_in_ : ndarray of str
        Where X has string column names.
    n_outputs_ : int
        Outputs of the module per row.

    See Also
    --------
    TorchClassifier : The same for classification.
    sktorch_continue.testing.check_continuation : Proof of exact continuation for a module or subclass.

    Notes
    -----
    A run that is cut and continued, in memory or through pickle, ends bit for bit where the uncut run ends (same
    machine, CPU, same number of threads). Floating inputs are cast batch by batch to the precision of the module;
    integer inputs as well, unless the module has an embedding or X is a dict. A data set of torch is read once before a
    call trains, and its items draw from global streams that are seeded by seed, epoch and row.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sktorch_continue import TorchRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = TorchRegressor(max_epochs=20, lr=0.01, random_state=0).fit(X, y)
    >>> model.continue_fit(X, y, max_epochs=30).n_epochs_
    50
    """

    _stratify = False
    _target: RealTarget
    _target_kind = RealTarget

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train exactly one pass over the given rows, starting a run if there is none.

        Parameters
        ----------
        X, y, sample_weight : see :meth:`fit`
            Rows held out for validation before are passed over. A single row is enough.

        Returns
        -------
        self

        Notes
        -----
        A pass is an epoch of the history. No validation rows are drawn from the rows of a pass. The schedule goes on
        whatever ``lr_scheduler_on_continue`` says; a horizon that was left out is filled in from ``max_epochs`` at the
        first pass.
        """
        carry_out(self, Call("partial_fit", X, y, 1, sample_weight))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict values.

        Parameters
        ----------
        X : as in :meth:`fit`
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the precision of the module.
        """
        outputs = self._predicted(X, torch.Tensor.detach)
        return outputs.reshape(-1) if self.n_outputs_ == 1 else outputs

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X, y, sample_weight : see :meth:`fit`
            Rows to predict, and their targets; a data set brings its own.

        Returns
        -------
        float
            1 at best.
        """
        return float(super().score(X, targets(self, X, y), sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _criterion_for_target(self) -> type[nn.Module]:
        return nn.MSELoss

    def _learn_target(self, y: Any, classes: Any) -> None:
        self._target = RealTarget.learn(y)

    def _objective(self, specification: Specification) -> Objective:
        return real_objective(specification.criterion, self._target.n_outputs)
