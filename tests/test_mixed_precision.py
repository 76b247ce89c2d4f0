"""autocast and a gradient scaler are parts of the run: they train, continue exactly, or are refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modules import Linear, Noisy, class_data, continued_quietly, real_data
from torch import nn

from sktorch_continue import (
    Callback,
    ContinuationError,
    ContinuationWarning,
    GradientClipping,
    TorchClassifier,
    TorchRegressor,
)
from sktorch_continue.mixed_precision import is_sound
from sktorch_continue.testing import (
    assert_same_run,
    check_continuation,
    first_difference,
    run_state,
    through_checkpoint,
    through_memory,
    through_pickle,
)

X, Y = class_data()
XR, YR = real_data()
HALF = ["bfloat16", "float16", torch.bfloat16]


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier of a module with dropout and batch norm."""
    return TorchClassifier(Noisy, **{"batch_size": 8, "max_epochs": 3, "random_state": 0, **params})


class Asks(nn.Module):
    """Tells in which dtype its layer computed."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)
        self.seen: set[Any] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.layer(x)
        self.seen.add((self.training, output.dtype))
        return output


# ---- autocast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_every_forward_pass_is_in_the_precision_that_was_asked_for(dtype: Any) -> None:
    """Steps, validation and predictions compute in it; weights, moments and answers are float32."""
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    model = TorchClassifier(Asks, autocast=dtype, max_epochs=1, random_state=0).fit(X, Y, X_val=X, y_val=Y)
    assert model.module_.seen == {(True, wanted), (False, wanted)}
    model.module_.seen.clear()
    assert model.predict_proba(X).dtype == np.float32
    assert model.module_.seen == {(False, wanted)}
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-6)
    moments = [t for state in model.optimizer_.state.values() for t in state.values()]
    assert {t.dtype for t in [*model.module_.parameters(), *moments]} == {torch.float32}


def test_a_regressor_predicts_in_float32() -> None:
    """Values computed in bfloat16 come out as float32, close to those of full precision."""
    model = TorchRegressor(Linear, autocast="bfloat16", max_epochs=1, random_state=0).fit(XR, YR)
    predicted = model.predict(XR)
    assert predicted.dtype == np.float32
    with torch.inference_mode():
        exact = model.module_(torch.from_numpy(XR)).numpy()[:, 0]
    np.testing.assert_allclose(predicted, exact, atol=0.05)
    assert not np.array_equal(predicted, exact)


def test_autocast_is_used_from_the_next_call_on() -> None:
    """Switched on and off between calls, it is what the parameters say, and the record has the change."""
    model = TorchClassifier(Asks, max_epochs=1, random_state=0).fit(X, Y)
    for dtype in ("bfloat16", None):
        model.module_.seen.clear()
        model.set_params(autocast=dtype).continue_fit(X, Y)
        assert model.module_.seen == {(True, torch.float32 if dtype is None else torch.bfloat16)}
    assert [record["changed"] for record in model.history_.calls] == [
        {},
        {"autocast": [None, "bfloat16"]},
        {"autocast": ["bfloat16", None]},
    ]


def test_a_prediction_is_in_the_precision_of_the_run() -> None:
    """A parameter that no call has used yet changes no prediction."""
    model = classifier(autocast="bfloat16").fit(X, Y)
    before = model.predict_proba(X)
    assert np.array_equal(model.set_params(autocast=None).predict_proba(X), before)


# ---- the scaler ------------------------------------------------------------------------------------------------------


class Gradients(Callback):
    """Keeps the size of the gradients at every step, and the scale after it."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.scales: list[float] = []

    def on_gradients(self, run: Any) -> None:
        """Measure."""
        self.norms.append(max(float(p.grad.abs().max()) for p in run.module.parameters()))

    def on_step_end(self, run: Any) -> None:
        """Look at the scale."""
        self.scales.append(0.0 if run.grad_scaler is None else run.grad_scaler.get_scale())


def test_a_scale_of_a_power_of_two_changes_nothing_in_float32() -> None:
    """Callbacks see gradients of their true size, and the weights end at the same bits."""
    plain, scaled = (
        classifier(optimizer="SGD", callbacks=[Gradients(), GradientClipping(0.1)], **scaler).fit(X, Y)
        for scaler in ({}, {"grad_scaler": "GradScaler", "grad_scaler__init_scale": 2.0**10})
    )
    assert first_difference(run_state(plain)["module"], run_state(scaled)["module"]) is None
    assert scaled.callbacks_["Gradients"].norms == plain.callbacks_["Gradients"].norms
    assert set(scaled.callbacks_["Gradients"].scales) == {2.0**10}


@pytest.mark.parametrize("optimizer", ["Adam", "SGD", "Adagrad", "RMSprop"])
def test_a_step_that_overflows_moves_nothing_and_counts(optimizer: str) -> None:
    """Weights and moments stay, the scale is halved, the step and its place in the schedule are counted."""
    model = classifier(
        optimizer=optimizer,
        autocast="float16",
        grad_scaler="GradScaler",
        grad_scaler__init_scale=2.0**40,
        callbacks=[Gradients()],
        max_epochs=1,
        lr_scheduler="StepLR",
        lr_scheduler__step_size=1,
        lr_scheduler_interval="step",
    )
    start = copy.deepcopy(classifier(optimizer=optimizer, max_epochs=1, lr=0.0).fit(X, Y).module_)
    model.fit(X, Y)
    assert model.callbacks_["Gradients"].scales == [2.0**39, 2.0**38, 2.0**37]
    assert model.n_steps_ == model.lr_scheduler_.last_epoch == 3
    assert all(map(torch.equal, model.module_.parameters(), start.parameters()))


CONTINUED = {
    "autocast": {"autocast": "bfloat16"},
    "float16": {"autocast": "float16", "grad_scaler": "GradScaler", "grad_scaler__growth_interval": 4},
    "overflows": {"autocast": "float16", "grad_scaler": "GradScaler", "grad_scaler__init_scale": 2.0**22},
    "float32": {"grad_scaler": torch.amp.GradScaler, "optimizer": "SGD", "optimizer__momentum": 0.9},
}


@pytest.mark.parametrize("params", CONTINUED.values(), ids=CONTINUED)
def test_cut_and_uncut_end_at_the_same_bits(params: dict[str, Any]) -> None:
    """Cut between and inside epochs, in memory, through pickle and a checkpoint: the scale and its counter go along."""
    ways = [through_memory, through_pickle, through_checkpoint]
    check_continuation(classifier(**params, validation_fraction=0.25), X, Y, step_cuts=[2, 5], through=ways)


class Fails(Callback):
    """Fails once, with gradients computed and not used."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_gradients(self, run: Any) -> None:
        """Fail."""
        if run.n_steps == self.at:
            raise RuntimeError("no room")


def test_a_failed_step_leaves_a_scaler_that_goes_on() -> None:
    """The step that failed is taken again, and the run ends where one without the failure ends."""
    params = {**CONTINUED["float16"], "max_epochs": 4}
    whole, failed = classifier(**params).fit(X, Y), classifier(**params, callbacks=[Fails(at=5)])
    with pytest.raises(RuntimeError, match="no room"):
        failed.fit(X, Y)
    assert failed.n_steps_ == 5
    failed.set_params(callbacks=None)
    with pytest.warns(ContinuationWarning, match="Fails"):
        failed.resume_fit(X, Y)
    assert_same_run(whole, failed, X)


def test_another_scaler_starts_now_and_says_what_is_dropped() -> None:
    """A first scaler starts quietly; another one, and none, name the old one."""
    model = classifier(max_epochs=1).fit(X, Y)
    model.set_params(grad_scaler="GradScaler", grad_scaler__init_scale=8.0).continue_fit(X, Y)
    assert model._run.grad_scaler.get_scale() == 8.0
    with pytest.warns(
        ContinuationWarning, match=r"GradScaler\(init_scale=8.0\) is dropped .* GradScaler\(init_scale=4"
    ):
        model.set_params(grad_scaler__init_scale=4.0).continue_fit(X, Y)
    assert model._run.grad_scaler.get_scale() == 4.0
    del model.grad_scaler__init_scale
    with pytest.warns(ContinuationWarning, match="is dropped with its scale, for none"):
        model.set_params(grad_scaler=None).continue_fit(X, Y)
    assert model._run.grad_scaler is None


# ---- refused ---------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no such dtype": ({"autocast": "half"}, ValueError, "autocast='half'; None, 'bfloat16', 'float16'"),
    "a dtype of full precision": ({"autocast": torch.float32}, ValueError, "autocast=torch.float32"),
    "a flag": ({"autocast": True}, ValueError, "autocast=True; None, 'bfloat16'"),
    "no such scaler": ({"grad_scaler": "Scaler"}, ValueError, "grad_scaler='Scaler'; None, 'GradScaler'"),
    "a scaler of another kind": ({"grad_scaler": Linear}, TypeError, "grad_scaler"),
    "an instance": ({"grad_scaler": torch.amp.GradScaler("cpu")}, TypeError, "give its class"),
    "an unknown argument": ({"grad_scaler": "GradScaler", "grad_scaler__x": 1}, TypeError, "takes no grad_scaler__x"),
    "an argument without a scaler": ({"grad_scaler__init_scale": 2.0}, ValueError, "set grad_scaler='GradScaler'"),
    "a factor that does not grow": (
        {"grad_scaler": "GradScaler", "grad_scaler__growth_factor": 0.5},
        ValueError,
        "grad_scaler=GradScaler refuses .*'growth_factor': 0.5.*must be > 1",
    ),
    "no scale": (
        {"grad_scaler": "GradScaler", "grad_scaler__init_scale": 0.0},
        ValueError,
        "begins with .*'scale': 0.0.* above zero",
    ),
    "text": (
        {"grad_scaler": "GradScaler", "grad_scaler__init_scale": "a"},
        ValueError,
        "begins with .*'scale': 'a'.* above zero",
    ),
    "another device": (
        {"grad_scaler": "GradScaler", "grad_scaler__device": "cuda"},
        ValueError,
        "grad_scaler__device='cuda', but the run is on cpu; leave it out",
    ),
    "a closure": ({"grad_scaler": "GradScaler", "optimizer": "LBFGS"}, ValueError, "LBFGS, which evaluates the loss"),
}


@pytest.mark.parametrize(("params", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(params: dict[str, Any], error: type[Exception], message: str) -> None:
    """With a new run and with one that goes on, which is left as it was."""
    with pytest.raises(error, match=message):
        classifier(**params).fit(X, Y)
    model = classifier().fit(X, Y)
    before = run_state(model)
    with pytest.raises(error, match=message):
        continued_quietly(model.set_params(**params), X, Y)
    assert first_difference(before, run_state(model)) is None


def test_autocast_of_double_precision_is_refused() -> None:
    """It would have no effect: torch leaves float64 alone. The message says what to do."""
    with pytest.raises(ValueError, match=r"is in torch.float64; give X as float32 \(X.astype\('float32'\)\)"):
        TorchClassifier(autocast="bfloat16").fit(X.astype(np.float64), Y)


def test_weights_in_float16_cannot_be_scaled() -> None:
    """torch would refuse at the first step; the message says what to do."""
    with pytest.raises(
        ValueError, match=r"this module is in float16; leave them in float32 and set autocast='float16'"
    ):
        TorchClassifier(nn.Linear(4, 3).half(), grad_scaler="GradScaler").fit(X, Y)


class WantsFloat32(nn.CrossEntropyLoss):
    """A criterion that takes nothing smaller."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if input.dtype != torch.float32:
            raise TypeError("float32 wanted")
        return super().forward(input, target)


def test_a_criterion_that_takes_no_half_precision_is_found_before_a_step() -> None:
    """By a new run, and by one that goes on in another precision."""
    model = TorchClassifier(Linear, criterion=WantsFloat32, max_epochs=1, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="WantsFloat32 failed on an output of shape"):
        model.set_params(autocast="bfloat16").continue_fit(X, Y)
    assert (model.n_epochs_, len(model.history_.calls)) == (1, 1)


STATE = torch.amp.GradScaler("cpu").state_dict()
STRANGE = [
    {"scale": 10**40},
    {"growth_interval": 2**31},
    {"scale": float("nan")},
    {"scale": "x"},
    {"growth_interval": "x"},
    {"more": 1},
]


@pytest.mark.parametrize(
    ("state", "sound"),
    [(STATE, True), ({}, True), (None, True), ([], False), ({"scale": 1.0}, False)]
    + [({**STATE, **changed}, False) for changed in STRANGE],
    ids=str,
)
def test_a_file_may_say_anything_of_a_scaler(state: Any, sound: bool) -> None:
    """Only what can be the state of one is loaded."""
    assert is_sound(state) is sound


@pytest.mark.parametrize("scaler", ["GradScaler", torch.amp.GradScaler], ids=["by name", "by class"])
def test_a_scaler_of_torch_can_be_built_from_a_file(scaler: Any, tmp_path: Path) -> None:
    """Its name stands for the class of torch, and its scale is that of the run."""
    model = classifier(grad_scaler=scaler, grad_scaler__growth_interval=2).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    loaded = TorchClassifier.from_checkpoint(tmp_path / "c", module=Noisy)
    assert loaded.grad_scaler == scaler
    assert_same_run(model.continue_fit(X, Y), loaded.continue_fit(X, Y), X)


def test_one_precision_has_two_names() -> None:
    """A dtype and its name are equal values, also to a run that is resumed."""
    model = classifier(autocast="bfloat16").fit(X, Y)
    assert model.set_params(autocast=torch.bfloat16, max_epochs=4).resume_fit(X, Y).n_epochs_ == 4
    assert [record["changed"].get("autocast") for record in model.history_.calls] == [None, None]


def test_an_interrupted_run_is_finished_in_its_precision() -> None:
    """Both decide what is trained: resume_fit refuses another one."""
    model = classifier(**CONTINUED["float16"]).fit(X, Y)
    with pytest.raises(ContinuationError, match="autocast was 'float16' and is now None"):
        model.set_params(autocast=None, max_epochs=5).resume_fit(X, Y)
