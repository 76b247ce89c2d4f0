"""P2: nothing in between changes a run, and nothing a run does changes the process it lives in."""

import copy
import pickle
import random
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from modules import Affine, Draws, Linear, Noisy, Raise, class_data, continued_quietly, real_data
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from sktorch_continue import Callback, EarlyStopping, EpochScoring, TorchClassifier, TorchRegressor
from sktorch_continue.testing import assert_same_run, first_difference, run_state

X, Y = class_data()
XR, YR = real_data()


def process_state():
    """Return what the process shares: random streams, threads, dtype, gradient mode, handlers of signals."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, keys.copy(), *rest],
        "torch": torch.get_rng_state(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": str(torch.get_default_dtype()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "signals": [id(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
    }


class ForeignDraws(nn.Module):
    """Draws from all three global streams: when it is built, in training and in evaluation."""

    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)
        self.start = random.random() + np.random.rand() + float(torch.rand(()))

    def forward(self, x):
        return self.layer(x) + random.random() + np.random.rand() + torch.rand(())


def classifier(**params):
    """Return an unfitted classifier whose module draws from every global stream."""
    return TorchClassifier(**{"module": ForeignDraws, "max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


def fitted(**params):
    """Return a fitted one."""
    return classifier(**params).fit(X, Y)


def in_a_folder(act):
    """Return what acts on a model and an empty folder."""

    def call(model):
        with tempfile.TemporaryDirectory() as folder:
            act(model, Path(folder))

    return call


CALLS = {
    "fit": (classifier, lambda m: m.fit(X, Y)),
    "fit without a seed": (lambda: classifier(random_state=None), lambda m: m.fit(X, Y)),
    "fit with everything": (
        lambda: classifier(
            validation_fraction=0.25,
            callbacks=[EpochScoring(), EarlyStopping(restore_best=True)],
            lr_scheduler="CosineAnnealingLR",
            class_weight="balanced",
        ),
        lambda m: m.fit(X, Y),
    ),
    "fit with weights": (classifier, lambda m: m.fit(X, Y, np.arange(24))),
    "fit with validation rows": (classifier, lambda m: m.fit(X, Y, X_val=X[:5], y_val=Y[:5])),
    "refit": (fitted, lambda m: m.fit(X, Y)),
    "warm start": (lambda: fitted(warm_start=True), lambda m: m.fit(X, Y)),
    "continue_fit": (fitted, lambda m: m.continue_fit(X, Y)),
    "continue_fit with weights": (fitted, lambda m: m.continue_fit(X, Y, np.arange(24))),
    "continue_fit with a fraction": (fitted, lambda m: m.set_params(validation_fraction=0.25).continue_fit(X, Y)),
    "continue_fit with another criterion": (
        fitted,
        lambda m: continued_quietly(m.set_params(criterion="MultiMarginLoss"), X, Y),
    ),
    "continue_fit with another optimizer": (fitted, lambda m: continued_quietly(m.set_params(optimizer="SGD"), X, Y)),
    "continue_fit with another value": (fitted, lambda m: m.set_params(optimizer__amsgrad=True).continue_fit(X, Y)),
    "partial_fit": (fitted, lambda m: m.partial_fit(X, Y)),
    "first partial_fit": (classifier, lambda m: m.partial_fit(X, Y, classes=[0, 1, 2])),
    "resume_fit": (fitted, lambda m: m.set_params(max_epochs=5).resume_fit(X, Y)),
    "resume_fit of a finished run": (fitted, lambda m: m.resume_fit(X, Y)),
    "resume_fit with a folder": (classifier, in_a_folder(lambda m, path: m.resume_fit(X, Y, path=path))),
    "save_checkpoint": (fitted, in_a_folder(lambda m, path: m.save_checkpoint(path / "c"))),
    "load_checkpoint": (
        fitted,
        in_a_folder(lambda m, path: (m.save_checkpoint(path / "c"), m.load_checkpoint(path / "c"))),
    ),
    "from_checkpoint": (
        fitted,
        in_a_folder(lambda m, path: (m.save_checkpoint(path / "c"), m.from_checkpoint(path / "c", module=m.module))),
    ),
    "export": (fitted, lambda m: m.export()),
    "predict": (fitted, lambda m: m.predict(X)),
    "predict_proba": (fitted, lambda m: m.predict_proba(X)),
    "score": (fitted, lambda m: m.score(X, Y)),
    "get_params": (fitted, lambda m: m.get_params()),
    "set_params": (fitted, lambda m: m.set_params(lr=0.1, optimizer__eps=0.1)),
    "pickle": (fitted, lambda m: pickle.loads(pickle.dumps(m))),
    "deepcopy": (fitted, copy.deepcopy),
    "clone": (fitted, clone),
    "repr": (fitted, lambda m: (repr(m), m._repr_html_())),
    "fitted names": (fitted, lambda m: (m.module_, m.history_, m.callbacks_, m.optimizer_, m.n_epochs_)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_no_public_method_touches_what_the_process_shares(call, dtype):
    """Global random states, threads, default dtype and gradient mode are as they were found."""
    make, act = CALLS[call]
    model = make()
    threads = torch.get_num_threads()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    np.random.standard_normal()  # NumPy keeps the second of two normal numbers
    torch.set_default_dtype(dtype)
    torch.set_num_threads(3 - min(threads, 2))
    try:
        before = process_state()
        act(model)
        assert first_difference(before, process_state()) is None
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_step_begin", "on_gradients", "on_validation_end", "on_epoch_end"]
)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_call_that_raises_leaves_them_as_well(hook, error):
    """Whatever leaves fit and continue_fit, what the process shares is as it was."""
    for model, verb in ((classifier(), "fit"), (fitted(), "continue_fit")):
        before = process_state()
        with pytest.raises(error):
            getattr(model.set_params(callbacks=[Raise(hook, error=error)]), verb)(X, Y)
        assert first_difference(before, process_state()) is None


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ({"module__width": 3}, (X, Y)),
        ({"module": lambda n_outputs: nn.Linear(2, n_outputs)}, (X, Y)),
        ({"optimizer": "Adma"}, (X, Y)),
        ({"drop_last": True, "batch_size": 99}, (X, Y)),
        ({"lr": 1e38, "max_epochs": 9, "optimizer": "SGD"}, (X * 1e3, Y)),
        ({}, (X, Y[:-1])),
    ],
    ids=["argument", "sizes", "optimizer", "batches", "infinite", "rows"],
)
def test_a_call_that_is_refused_leaves_them_as_well(params, data):
    """Errors of parameters, modules, data and losses."""
    before = process_state()
    with pytest.raises((TypeError, ValueError, FloatingPointError)):
        classifier(**params).fit(*data)
    assert first_difference(before, process_state()) is None


def test_methods_of_what_is_not_fitted_leave_them_as_well():
    """predict and continue_fit before fit."""
    before = process_state()
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(X)
    with pytest.raises(NotFittedError):
        classifier().continue_fit(X, Y)
    assert first_difference(before, process_state()) is None


def test_a_criterion_with_random_weights_leaves_them_as_well():
    """It is built in fit, in the middle of a run, and after a pickle."""
    model = TorchRegressor(Draws, criterion=Affine, max_epochs=1, random_state=0)
    before = process_state()
    model.fit(XR, YR)
    pickle.loads(pickle.dumps(model))
    assert first_difference(before, process_state()) is None
    other = TorchRegressor(Draws, max_epochs=1, random_state=0).fit(XR, YR)
    before = process_state()
    continued_quietly(other.set_params(criterion=Affine), XR, YR)
    assert first_difference(before, process_state()) is None


def as_frame(model):
    """Return the history as a frame, where pandas is installed."""
    pytest.importorskip("pandas")
    return model.history_.to_frame()


BETWEEN = {
    "save_checkpoint": in_a_folder(lambda m, path: m.save_checkpoint(path / "c")),
    "load_checkpoint": in_a_folder(lambda m, path: (m.save_checkpoint(path / "c"), m.load_checkpoint(path / "c"))),
    "resume_fit of a finished run": lambda m: m.resume_fit(X, Y),
    "export": lambda m: m.export().predict(X),
    "predict": lambda m: m.predict(X),
    "predict_proba of other rows": lambda m: m.predict_proba(X[:1] * 7),
    "score": lambda m: m.score(X, Y),
    "pickle": pickle.dumps,
    "deepcopy": copy.deepcopy,
    "deepcopy that trains": lambda m: copy.deepcopy(m).continue_fit(X, Y),
    "clone that trains": lambda m: clone(m).set_params(random_state=4).fit(X, Y),
    "print": lambda m: (repr(m), str(m.history_), m._repr_html_()),
    "get_params": lambda m: m.get_params(deep=True),
    "history": lambda m: (m.history_.columns, m.history_["train_loss"], m.history_[-1]),
    "history as a frame": as_frame,
    "random numbers": lambda m: (random.random(), np.random.rand(3), torch.rand(3)),
    "seeds": lambda m: (random.seed(9), np.random.seed(9), torch.manual_seed(9)),
    "evaluation mode": lambda m: m.module_.eval(),
    "another estimator": lambda m: classifier(random_state=5).fit(X, Y),
}


@pytest.mark.parametrize("module", [Noisy, ForeignDraws])
@pytest.mark.parametrize("between", BETWEEN)
def test_nothing_between_two_pieces_changes_the_run(between, module):
    """Cut after two of four epochs, something done, continued: the bits of the run that was never cut."""
    params = {"module": module, "validation_fraction": 0.25, "callbacks": [EarlyStopping(restore_best=True)]}
    whole = classifier(**params, max_epochs=4).fit(X, Y)
    model = fitted(**params)
    before = run_state(model)
    BETWEEN[between](model)
    assert first_difference(before, run_state(model)) is None
    assert_same_run(model.continue_fit(X, Y), whole)


def test_predictions_repeat():
    """Dropout is off and batch norm uses its averages: the same rows give the same bits, whatever came before."""
    model = fitted(module=Noisy)
    was_training = model.module_.training
    first = model.predict_proba(X)
    model.predict_proba(X[:3])
    assert first_difference(first, model.predict_proba(X)) is None
    assert model.module_.training is was_training


def test_predicting_between_two_steps_changes_nothing():
    """A callback may ask the run's own estimator in the middle of an epoch: dropout and averages go on."""

    class Asks(Callback):
        def on_step_end(self, run):
            run.session.estimator.predict(X)

    asked = fitted(module=Noisy, callbacks=[Asks()])
    for part in ("module", "optimizer"):
        assert first_difference(run_state(asked)[part], run_state(fitted(module=Noisy))[part]) is None


def test_data_is_never_written_to():
    """Rows, targets and weights come back as they went in; read-only arrays are taken."""
    rows, labels, weight = X.copy(), Y.copy(), np.linspace(0, 2, 24)
    kept = [array.copy() for array in (rows, labels, weight)]
    for array in (rows, labels, weight):
        array.setflags(write=False)

    class InPlace(nn.Module):
        def __init__(self, n_features_in, n_outputs):
            super().__init__()
            self.layer = nn.Linear(n_features_in, n_outputs)

        def forward(self, x):
            return self.layer(x.mul_(2).add_(1))

    model = classifier(module=InPlace, shuffle=False, batch_size=24).fit(rows, labels, weight)
    model.continue_fit(rows, labels, weight, X_val=rows, y_val=labels)
    model.predict(rows)
    for array, before in zip((rows, labels, weight), kept, strict=True):
        assert np.array_equal(array, before)


# ---- threads ------------------------------------------------------------------------------------------------------


def in_threads(*jobs):
    """Run jobs at the same time; raise what they raise."""
    errors = []

    def guarded(job, barrier):
        barrier.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    barrier = threading.Barrier(len(jobs))
    threads = [threading.Thread(target=guarded, args=(job, barrier)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("module", [Noisy, ForeignDraws])
def test_two_threads_give_the_bits_of_one_after_the_other(module):
    """Two fits, continued twice, at the same time: each is what it is alone."""

    def trained(seed, epochs):
        model = classifier(module=module, random_state=seed, validation_fraction=0.25, max_epochs=epochs).fit(X, Y)
        for _ in range(2):
            if module is Noisy:  # a prediction waits for no training; one that draws would be seen by it
                model.predict(X)
            model.continue_fit(X, Y)
        return model

    alone = {seed: trained(seed, 3) for seed in (0, 1)}
    found = {}
    before = process_state()
    in_threads(*(lambda seed=seed: found.update({seed: trained(seed, 3)}) for seed in (0, 1)))
    assert first_difference(before, process_state()) is None
    for seed in (0, 1):
        assert_same_run(found[seed], alone[seed], X)


def test_predicting_while_another_trains():
    """A prediction in one thread is what it is alone, and does not disturb a training in another."""
    model, expected = fitted(module=Noisy), fitted(module=Noisy).predict_proba(X)
    trained = classifier(module=Noisy, random_state=1, max_epochs=6)
    found = []
    in_threads(
        lambda: trained.fit(X, Y),
        lambda: found.extend(model.predict_proba(X) for _ in range(5)),
    )
    assert all(first_difference(expected, prediction) is None for prediction in found)
    assert_same_run(trained, classifier(module=Noisy, random_state=1, max_epochs=6).fit(X, Y), X)


def test_a_callback_may_predict_while_it_trains():
    """The loan of the streams is the thread's own: a callback that uses another estimator does not wait for ever."""
    other = fitted(module=Noisy)

    class Uses(Callback):
        def on_epoch_end(self, run):
            other.predict(X)
            fitted(module=Linear, random_state=3)

    model = classifier(module=Noisy, callbacks=[Uses()]).fit(X, Y)
    plain = classifier(module=Noisy).fit(X, Y)
    assert first_difference(run_state(model)["module"], run_state(plain)["module"]) is None


# ---- random_state -------------------------------------------------------------------------------------------------


def test_an_int_gives_the_same_run_every_time():
    """Whatever the global streams are, and whatever was trained before."""
    first = fitted()
    torch.manual_seed(123), np.random.seed(123), random.seed(123)
    assert_same_run(first, fitted(), X)
    assert_same_run(first, fitted(random_state=np.int64(0)), X)


def test_fit_starts_over_with_the_same_int():
    """A second fit of the same estimator is the first."""
    model = fitted()
    before = run_state(model)
    assert first_difference(before, run_state(model.fit(X, Y))) is None


def test_none_gives_another_run_every_time():
    """And does not draw from NumPy's global stream, which would repeat."""
    runs = []
    for _ in range(2):
        np.random.seed(0), torch.manual_seed(0), random.seed(0)
        runs.append(run_state(fitted(random_state=None)))
    assert first_difference(runs[0]["module"], runs[1]["module"]) is not None


def test_a_random_state_is_drawn_from_once_per_fit():
    """Equal generators give equal runs; the next fit from the same one is another; continuing draws nothing."""
    generator = np.random.RandomState(5)
    first = fitted(random_state=generator)
    second = fitted(random_state=generator)
    same = fitted(random_state=np.random.RandomState(5))
    assert_same_run(first, same, X)
    assert first_difference(run_state(first)["module"], run_state(second)["module"]) is not None
    position = generator.get_state()[2]
    first.continue_fit(X, Y)
    assert generator.get_state()[2] == position
    assert_same_run(first, same.continue_fit(X, Y), X)


@pytest.mark.parametrize("seed", ["zero", 1.5, -1])
def test_what_is_no_random_state_is_refused(seed):
    """scikit-learn's own error."""
    with pytest.raises(ValueError, match=r"seed|Seed"):
        classifier(random_state=seed).fit(X, Y)


def test_a_search_over_threads_is_one_over_none():
    """clone and fit in joblib's threads: the weights of each are those of a plain fit."""
    from joblib import Parallel, delayed

    plain = [run_state(fitted(module=Noisy, random_state=seed)) for seed in range(3)]
    jobs = (delayed(lambda seed: fitted(module=Noisy, random_state=seed))(seed) for seed in range(3))
    for expected, model in zip(plain, Parallel(n_jobs=2, prefer="threads")(jobs), strict=True):
        assert first_difference(expected, run_state(model)) is None
