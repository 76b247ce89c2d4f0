"""P5: rows held out for validation are never trained on by a later call, in whatever form they come back."""

from collections import Counter

import numpy as np
import pytest
import torch
from modules import Noisy, Raise, TwoInputs, Watching, assert_untouched, class_data, label, real_data, snapshot
from optional import pd, pl
from scipy.sparse import csr_array, csr_matrix

from sktorch_continue import TorchClassifier, TorchRegressor
from sktorch_continue.testing import assert_same_run, first_difference, run_state, through_memory, through_pickle

X, Y = class_data(40, n_classes=2)
XR, YR = real_data(40)
MORE, MORE_Y = class_data(20, n_classes=2, seed=9)
WAYS = pytest.mark.parametrize("way", [through_memory, through_pickle])


@pytest.fixture(autouse=True)
def _nothing_seen():
    Watching.seen.clear()


def classifier(**params):
    """Return an unfitted classifier that holds out 10 of 40 rows and watches what it trains on."""
    defaults = {"module": Watching, "max_epochs": 2, "batch_size": 8, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params})


def rows_of(array):
    """Return the rows as a set."""
    return {tuple(row) for row in np.asarray(array, dtype=np.float32).tolist()}


def held_out_of(model, rows=X):
    """Return the rows that were not trained on, and check that the others were."""
    held = rows_of(rows) - Watching.rows_seen()
    assert len(held) == model.history_.calls[-1]["n_validation_rows"]
    Watching.seen.clear()
    return held


def test_a_fraction_is_held_out():
    """A quarter of the rows is not trained on, in any epoch; the others all are."""
    model = classifier(max_epochs=3).fit(X, Y)
    assert len(held_out_of(model)) == 10
    assert model.history_.calls[0]["n_rows"] == 30


REORDERED = np.random.default_rng(5).permutation(40)
FORMS = {
    "the same": (X, Y),
    "a copy": (X.copy(), Y.copy()),
    "reordered": (X[REORDERED], Y[REORDERED]),
    "some of them": (X[:33], Y[:33]),
    "rows added": (np.concatenate([MORE, X]), np.concatenate([MORE_Y, Y])),
    "duplicates added": (np.concatenate([X, X[::-1], X]), np.concatenate([Y, Y[::-1], Y])),
    "float64": (X.astype(np.float64), Y),
    "lists": (X.tolist(), Y.tolist()),
    "tensor": (torch.from_numpy(X), torch.from_numpy(Y)),
    "fortran order": (np.asfortranarray(X), Y.astype(np.float64)),
    "csr": (csr_matrix(X), Y),
    "csr array of float64": (csr_array(X.astype(np.float64)), Y),
    "csr reordered": (csr_matrix(X[REORDERED]), Y[REORDERED]),
}


@WAYS
@pytest.mark.parametrize("form", FORMS)
def test_rows_held_out_are_never_trained_on(form, way):
    """Whatever order, company, container or precision they come back in."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    rows, labels = FORMS[form]
    way(model).continue_fit(rows, labels)
    assert len(Watching.seen) > 0
    assert not held & Watching.rows_seen()


@WAYS
def test_frames_keep_rows_held_out(way):
    """A frame reversed, of another precision, shuffled."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = classifier().fit(frame, Y)
    held = held_out_of(model)
    way(model).continue_fit(frame.astype(np.float64).iloc[::-1], pd.Series(Y).iloc[::-1])
    way(model).continue_fit(frame.sample(frac=1.0, random_state=0), Y[frame.sample(frac=1.0, random_state=0).index])
    assert len(Watching.seen) > 0
    assert not held & Watching.rows_seen()


@WAYS
def test_another_kind_of_frame_keeps_rows_held_out(way):
    """From an array to polars, without names that only some versions of scikit-learn read."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    way(model).continue_fit(pl.DataFrame(X, orient="row").to_numpy(), Y)
    assert len(Watching.seen) > 0
    assert not held & Watching.rows_seen()


def test_from_float64_to_float32():
    """A row that has more digits than float32 keeps is the same row when it comes back with fewer."""
    rows = np.random.default_rng(1).normal(size=(40, 4))
    model = classifier().fit(rows, Y)
    held = held_out_of(model, rows)
    model.continue_fit(rows.astype(np.float32), Y)
    assert not held & Watching.rows_seen()


def test_labels_of_another_type():
    """Labels are compared as classes: text as objects or as an array of text."""
    labels = np.array(["no", "yes"])[Y]
    model = classifier().fit(X, labels)
    held = held_out_of(model)
    model.continue_fit(X, labels.astype(object)).continue_fit(X.tolist(), labels.tolist())
    assert not held & Watching.rows_seen()


@WAYS
@pytest.mark.parametrize(
    "target", [YR, YR.astype(np.float32), YR.reshape(-1, 1), YR.tolist()], ids=lambda t: str(type(t))
)
def test_regression_targets_of_another_form(target, way):
    """Shape (n, 1), float32 and lists."""
    model = TorchRegressor(Watching, max_epochs=2, random_state=0, validation_fraction=0.25).fit(XR, YR)
    held = held_out_of(model, XR)
    way(model).continue_fit(XR, target)
    assert not held & Watching.rows_seen()


@WAYS
def test_rows_rounded_in_their_last_bits_are_the_same_rows(way):
    """A preprocessing in float32 may round otherwise in another batch: the row is the same."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    places = [i for i, row in enumerate(X.tolist()) if tuple(row) in held]
    rounded = np.nextafter(X, np.float32(np.inf))
    way(model).continue_fit(rounded, Y)
    assert len(Watching.seen) > 0
    assert not rows_of(rounded[places]) & Watching.rows_seen()


LARGE = X.copy()
LARGE[:, 0] = np.where(np.arange(40) % 3 == 0, 1e7, 0)
OUTLIER = X.copy()
OUTLIER[7, 0] = 1e9


@pytest.mark.parametrize("rows", [LARGE, OUTLIER], ids=["a large column", "an outlier"])
@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit"])
def test_rows_that_are_not_held_out_are_trained_on(rows, verb):
    """A part of the data comes back: of it, every row is trained on that was not held out, whatever its scale."""
    model = classifier().fit(rows, Y)
    held = held_out_of(model, rows)
    getattr(model, verb)(rows[:20], Y[:20])
    assert rows_of(rows[:20]) - held == Watching.rows_seen()


def test_zero_is_zero():
    """-0.0 and 0.0 are one row."""
    rows = np.where(np.arange(160).reshape(40, 4) % 3 == 0, 0.0, X).astype(np.float32)
    model = classifier().fit(rows, Y)
    held = held_out_of(model, rows)
    model.continue_fit(np.where(rows == 0, -0.0, rows).astype(np.float32), Y)
    assert not held & Watching.rows_seen()


@WAYS
@pytest.mark.parametrize("order", [["left", "right"], ["right", "left"]], ids=label)
def test_inputs_by_name_in_any_order(order, way):
    """A dict is the same data in whatever order its keys come."""
    parts = {"left": X[:, :2], "right": X[:, 2:]}
    model = classifier(module=TwoInputs).fit(parts, Y)
    held = held_out_of(model)
    fingerprint = model.history_.calls[0]["fingerprint"]
    way(model).continue_fit({name: parts[name] for name in order}, Y)
    assert not held & Watching.rows_seen()
    model.continue_fit({name: parts[name] for name in order}, Y)
    assert model.history_.calls[-1]["fingerprint"] == fingerprint


@WAYS
def test_partial_fit_passes_over_them(way):
    """A pass over given rows leaves out those that are held out, and draws none itself."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model = way(model).partial_fit(X[REORDERED], Y[REORDERED]).partial_fit(MORE, MORE_Y)
    assert not held & Watching.rows_seen()
    assert rows_of(MORE) <= Watching.rows_seen()
    assert [record["n_rows"] for record in model.history_.calls] == [30, 30, 20]


def test_partial_fit_draws_no_validation_rows():
    """Exactly the given rows are trained on."""
    model = classifier().partial_fit(X, Y, classes=[0, 1])
    assert rows_of(X) == Watching.rows_seen()
    assert model.history_.calls[0]["n_validation_rows"] == 0


@WAYS
@pytest.mark.parametrize("fraction", [None, 0.25, 0.1])
def test_they_stay_held_out_whatever_the_fraction_becomes(fraction, way):
    """Turned off, or made smaller: once held out, for good; turned off, they are not scored either."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model = way(model).set_params(validation_fraction=fraction).continue_fit(X, Y)
    assert not held & Watching.rows_seen()
    assert rows_of(X) - held == Watching.rows_seen()
    assert model.history_.calls[-1]["n_validation_rows"] == (0 if fraction is None else 10)


def test_they_stay_held_out_beside_given_validation_rows():
    """X_val serves for the losses; what was held out is not trained on."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model.continue_fit(X, Y, X_val=MORE, y_val=MORE_Y)
    assert not held & Watching.rows_seen()
    assert model.history_.calls[-1]["n_validation_rows"] == 20


def test_they_stay_held_out_under_warm_start_and_another_seed():
    """fit under warm_start continues, and random_state draws no other split."""
    model = classifier(warm_start=True).fit(X, Y)
    held = held_out_of(model)
    model.set_params(random_state=7).fit(X[::-1].copy(), Y[::-1].copy())
    assert not held & Watching.rows_seen()


def test_a_new_fit_holds_out_anew():
    """fit is a new run: with another seed other rows are held out."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model.set_params(random_state=7).fit(X, Y)
    assert held_out_of(model) != held


@WAYS
def test_a_larger_fraction_adds_rows(way):
    """Those that were held out stay, others come to them."""
    model = classifier().fit(X, Y)
    before = held_out_of(model)
    model = way(model).set_params(validation_fraction=0.5).continue_fit(X, Y)
    after = held_out_of(model)
    assert before < after
    assert len(after) == 20


def test_rows_that_are_all_new_are_split_as_well():
    """Where none of the rows is known, a fraction of them is held out, and the old ones stay."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model.continue_fit(MORE, MORE_Y)
    assert len(held_out_of(model, MORE)) == 5
    model.continue_fit(np.concatenate([X, MORE]), np.concatenate([Y, MORE_Y]))
    assert not held & Watching.rows_seen()
    assert model.history_.calls[-1]["n_validation_rows"] == 15


def test_no_more_rows_are_held_out_than_the_fraction_asks_for():
    """A smaller fraction for other rows in between does not make the first rows be drawn from again."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model.set_params(validation_fraction=0.1).continue_fit(MORE, MORE_Y)
    Watching.seen.clear()
    model.set_params(validation_fraction=0.25).continue_fit(X, Y)
    assert held_out_of(model) == held


def test_a_first_fraction_in_a_later_call():
    """Rows are held out from that call on."""
    model = classifier(validation_fraction=None).fit(X, Y)
    assert held_out_of(model) == set()
    model.set_params(validation_fraction=0.25).continue_fit(X, Y)
    held = held_out_of(model)
    model.continue_fit(X, Y)
    assert held_out_of(model) == held
    assert len(held) == 10


def test_identical_rows_are_on_one_side():
    """A row that is there several times is held out altogether or not at all, then and later."""
    rows, labels = np.repeat(X, 3, axis=0), np.repeat(Y, 3)
    model = classifier(max_epochs=1).fit(rows, labels)
    trained = Counter(tuple(row) for batch in Watching.seen for row in batch.tolist())
    assert set(trained.values()) == {3}
    assert len(trained) == 30
    held = rows_of(rows) - Watching.rows_seen()
    assert len(held) == 10
    Watching.seen.clear()
    model.continue_fit(X, Y)
    assert not held & Watching.rows_seen()


def test_the_same_row_with_another_label_is_another_row():
    """What is held out is a row with its target."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model.continue_fit(X, 1 - Y)
    assert held & Watching.rows_seen()


@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit"])
def test_rows_that_are_all_held_out_are_refused(verb):
    """Nothing to train on is an error that says why, and changes nothing."""
    model = classifier().fit(X, Y)
    found = held_out_of(model)
    held = np.array([tuple(row) in found for row in X.tolist()])
    before = snapshot(model)
    with pytest.raises(ValueError, match="none of the 10 rows is left to train on: 10 are held out"):
        getattr(model, verb)(X[held], Y[held])
    assert_untouched(model, before)


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_fraction_always_leaves_both_sides(fraction):
    """At least one row is held out; a fraction that leaves none to train on is refused."""
    model = classifier(validation_fraction=fraction)
    if fraction < 0.5:
        assert model.fit(X, Y).history_.calls[0]["n_validation_rows"] == 1
        return
    with pytest.raises(ValueError, match=r"validation_fraction=0\.999 of 40 rows .* leaves"):
        model.fit(X, Y)


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1, "0.2", float("nan")])
def test_what_is_no_fraction_is_refused(fraction):
    """Between 0 and 1, or None."""
    with pytest.raises(ValueError, match="validation_fraction"):
        classifier(validation_fraction=fraction).fit(X, Y)


@pytest.mark.parametrize(("n_classes", "shares"), [(2, [5, 5]), (4, [3, 3, 2, 2])])
def test_classes_keep_their_proportions(n_classes, shares):
    """Held-out rows are stratified by class."""
    rows, labels = class_data(40, n_classes=n_classes)
    model = classifier().fit(rows, labels)
    held = held_out_of(model, rows)
    counts = np.bincount(labels[[tuple(row) in held for row in rows.tolist()]], minlength=n_classes)
    assert sorted(counts.tolist(), reverse=True) == shares


def test_rare_classes_are_kept_in_proportion():
    """36 rows of one class and 4 of the other: 9 and 1 are held out."""
    labels = (np.arange(40) % 10 == 0).astype(int)
    model = classifier().fit(X, labels)
    held = held_out_of(model)
    assert labels[[tuple(row) in held for row in X.tolist()]].sum() == 1


def test_a_class_of_one_row_is_no_obstacle():
    """Where a class cannot be on both sides, the split is drawn without classes."""
    labels = np.where(np.arange(40) == 3, 2, Y)
    assert classifier().fit(X, labels).history_.calls[0]["n_validation_rows"] == 10


def test_multilabel_rows_are_held_out():
    """An indicator matrix is no class; its rows are held out all the same."""
    labels = np.stack([Y, 1 - Y, Y], axis=1)
    model = classifier().fit(X, labels)
    held = held_out_of(model)
    model.continue_fit(csr_matrix(X), labels)
    assert not held & Watching.rows_seen()


@WAYS
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_split_is_the_same_cut_or_uncut(cut, way):
    """The rows held out, and every valid_loss, do not depend on where the run was cut."""
    params = {"module": Noisy, "lr": 0.1}
    whole = classifier(**params, max_epochs=4).fit(X, Y)
    pieces = way(classifier(**params, max_epochs=cut).fit(X, Y)).continue_fit(X, Y, max_epochs=4 - cut)
    assert_same_run(pieces, whole, X)
    assert first_difference(run_state(pieces)["held_out"], run_state(whole)["held_out"]) is None


def test_the_split_is_the_same_for_the_same_seed():
    """And another for another."""
    splits = [held_out_of(classifier(random_state=seed).fit(X, Y)) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_a_failed_call_holds_nothing_out():
    """A larger fraction in a call that fails before its first step: as if it had not been asked for."""
    model = classifier().fit(X, Y)
    held = held_out_of(model)
    model.set_params(validation_fraction=0.5, callbacks=[Raise("on_gradients")])
    with pytest.raises(RuntimeError, match="on_gradients"):
        model.continue_fit(X, Y)
    Watching.seen.clear()
    model.set_params(validation_fraction=0.25, callbacks=None).continue_fit(X, Y)
    assert held_out_of(model) == held
