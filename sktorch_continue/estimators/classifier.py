"""Classification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from sktorch_continue.callbacks import Callback
from sktorch_continue.criteria import Objective, class_objective
from sktorch_continue.data import ClassTarget
from sktorch_continue.estimators.base import TorchEstimator
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.torch_data import targets
from sktorch_continue.estimators.verbs import carry_out
from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.specification import Specification


class TorchClassifier(ClassifierMixin, TorchEstimator):
    """Classifier around a PyTorch module that goes on training exactly where it stopped.

    Parameters
    ----------
    module : None, nn.Module subclass, callable or nn.Module, default=None
        What is trained. None is the built-in :class:`MLP` in the precision of X; a class or callable is called with
        ``module__x`` and, where it takes them, ``n_features_in`` and ``n_outputs``; an instance is copied, its weights
        are the start (fine-tuning).
    criterion : None, str, class, callable or nn.Module, default=None
        None is ``CrossEntropyLoss``, or ``BCEWithLogitsLoss`` for a multilabel target. Names are
        those of ``torch.nn``; a loss function of two arguments works as well. ``criterion__x`` goes to the constructor.
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
        Share of the rows held out, stratified by class where that is possible, for good: no later call trains on them.
    check_finite : bool, default=True
        Raise before a step whose loss is NaN or infinite.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into ``sample_weight``; as in scikit-learn.
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
    classes_ : ndarray of shape (n_classes,) or (n_labels,)
        Labels in sorted order; for a multilabel target 0 to n_labels - 1.

    See Also
    --------
    TorchRegressor : The same for regression.
    sktorch_continue.testing.check_continuation : Proof of exact continuation for a module or subclass.

    Notes
    -----
    A run that is cut and continued, in memory or through pickle, ends bit for bit where the uncut run ends (same
    machine, CPU, same number of threads). Floating inputs are cast batch by batch to the precision of the module;
    integer inputs as well, unless the module has an embedding or X is a dict. A data set of torch is read once before a
    call trains, and its items draw from global streams that are seeded by seed, epoch and row.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktorch_continue import TorchClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TorchClassifier(max_epochs=50, random_state=0).fit(X, y)
    >>> model.set_params(max_epochs=100, batch_size=32).continue_fit(X, y).n_epochs_
    150
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    _stratify = True
    _target: ClassTarget
    _target_kind = ClassTarget

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
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        device: str | torch.device = "cpu",
        callbacks: Sequence[Callback | tuple[str, Callback]] | None = None,
        verbose: int = 0,
        compile: bool = False,
        autocast: torch.dtype | str | None = None,
        grad_scaler: Any = None,
        num_threads: int | None = None,
        **module__and_other_parts: Any,
    ) -> None:
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            lr_scheduler_monitor=lr_scheduler_monitor,
            lr_scheduler_on_continue=lr_scheduler_on_continue,
            max_epochs=max_epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            validation_fraction=validation_fraction,
            check_finite=check_finite,
            warm_start=warm_start,
            random_state=random_state,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            compile=compile,
            autocast=autocast,
            grad_scaler=grad_scaler,
            num_threads=num_threads,
            **module__and_other_parts,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train exactly one pass over the given rows, starting a run if there is none.

        Parameters
        ----------
        X, y, sample_weight : see :meth:`fit`
            Rows held out for validation before are passed over. A single row is enough.
        classes : array-like of shape (n_classes,), optional
            All classes there will be; needed at the first call, unless y is a multilabel indicator.

        Returns
        -------
        self

        Notes
        -----
        A pass is an epoch of the history. No validation rows are drawn from the rows of a pass. The schedule goes on
        whatever ``lr_scheduler_on_continue`` says; a horizon that was left out is filled in from ``max_epochs`` at the
        first pass.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' cannot be known from the rows of one partial_fit; give a dict of weights"
            )
        carry_out(self, Call("partial_fit", X, y, 1, sample_weight, classes=classes))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict classes.

        Parameters
        ----------
        X : as in :meth:`fit`
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels from ``classes_``; for a multilabel target 1 where a label's probability exceeds one half.
        """
        chosen = self._predicted(X, self._chosen)
        return chosen if self._target.multilabel else np.asarray(self.classes_[chosen])

    def _chosen(self, output: torch.Tensor) -> torch.Tensor:
        """Return the most probable classes of a batch, as positions, or the labels that are more than even."""
        run = self._run
        if run.facts.objective.kind == "index":
            return run.facts.objective.most_probable(output, run.criterion)
        found = self._probabilities(output)
        return (found > 0.5).long() if self._target.multilabel else found.argmax(dim=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities.

        Parameters
        ----------
        X : as in :meth:`fit`
            Rows to predict.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the precision of the module; columns in the order of ``classes_``.
        """
        return self._predicted(X, self._probabilities)

    def _probabilities(self, output: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of a batch of outputs, a column per class or label."""
        run = self._run
        found = run.facts.objective.probabilities(output, run.criterion)
        one_column = not self._target.multilabel and found.shape[1] == 1
        return torch.cat([1 - found, found], dim=1) if one_column else found

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean accuracy (exact match of all labels for a multilabel target) of the predictions.

        Parameters
        ----------
        X, y, sample_weight : see :meth:`fit`
            Rows to predict, and their targets; a data set brings its own.

        Returns
        -------
        float
            Between 0 and 1.
        """
        return float(super().score(X, targets(self, X, y), sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _criterion_for_target(self) -> type[nn.Module]:
        return nn.BCEWithLogitsLoss if self._target.multilabel else nn.CrossEntropyLoss

    def _learn_target(self, y: Any, classes: Any) -> None:
        self._target = ClassTarget.learn(y, classes)
        self.classes_ = self._target.classes

    def _check_classes(self, classes: Any) -> None:
        if not np.array_equal(np.unique(classes), self.classes_):
            raise ContinuationError(
                f"classes={np.unique(classes).tolist()} differ from those of this run, {self.classes_.tolist()}"
            )

    def _objective(self, specification: Specification) -> Objective:
        return class_objective(specification.criterion, len(self.classes_), multilabel=self._target.multilabel)

    def _weight(self, encoded: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        by_class = self._class_weights(encoded)
        if not np.isfinite(by_class).all() or (by_class < 0).any():
            raise ValueError(f"class_weight={self.class_weight!r}; finite weights of zero or more were expected")
        return by_class if sample_weight is None else by_class * sample_weight

    def _class_weights(self, encoded: np.ndarray) -> np.ndarray:
        """Return the weight of every row by its class; a batch of ``partial_fit`` need not have every class."""
        if (
            not self._target.multilabel
            and not isinstance(self.class_weight, Mapping)
            and self.class_weight != "balanced"
        ):
            raise ValueError(
                f"class_weight={self.class_weight!r}; None, 'balanced' or a dict with a weight per class was expected"
            )
        if self._target.multilabel or not isinstance(self.class_weight, Mapping):
            labels = encoded.astype(int) if self._target.multilabel else self.classes_[encoded]
            weights: np.ndarray = compute_sample_weight(self.class_weight, labels)
            return weights
        unknown = [label for label in self.class_weight if label not in self.classes_]
        if unknown:
            raise ValueError(f"class_weight has {unknown}, which are no classes; they are {self.classes_.tolist()}")
        of_class = self.class_weight
        weights = np.array([of_class.get(label, 1.0) for label in self.classes_.tolist()], dtype=float)[encoded]
        return weights
