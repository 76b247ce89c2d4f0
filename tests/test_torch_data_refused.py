"""Data sets of torch that cannot be trained on, or not exactly: refused with the reason, before anything changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import refused
from data_sets import (
    ROWS,
    Augmented,
    BagOfWords,
    Clock,
    OwnGenerator,
    OwnStream,
    Part,
    ReadOnce,
    Shuffled,
    Stream,
    Words,
    X,
    Y,
    pad,
)
from modules import Noisy
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Subset, TensorDataset

from sktorch_continue import ContinuationError, TorchClassifier, TorchRegressor
from sktorch_continue.testing import Interrupt

WEIGHTS = np.linspace(0.5, 2.0, len(X))
TENSOR, LABELS = ROWS.tensors


class Items(Dataset):
    """A list of items."""

    def __init__(self, items: Any) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


class NoLength(Dataset):
    """Lacks what a map-style data set needs."""

    def __getitem__(self, row: int) -> Any:
        return ROWS[row]


class Grows(Part):
    """Gives more rows, or fewer, when it is iterated again after its pass."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by, self.n_read = by, 0

    def __iter__(self) -> Any:
        self.n_read += 1
        self.stop = len(X) - 4 + (self.by if self.n_read > 3 else 0)  # twice a look, once the pass
        return super().__iter__()


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier of a few steps."""
    return TorchClassifier(**{"module": Noisy, "batch_size": 8, "max_epochs": 2, "random_state": 0, **params})


@pytest.mark.parametrize(
    ("data", "params"),
    [
        (OwnGenerator(), {}),
        (OwnGenerator(), {"dataloader__num_workers": 2, "dataloader__persistent_workers": True}),
        (Clock(), {}),
        (OwnStream(), {"shuffle": False}),
        (OwnStream(), {"shuffle": False, "dataloader__num_workers": 2}),
        (ReadOnce(), {"shuffle": False}),
    ],
)
def test_a_data_set_that_draws_from_a_stream_of_its_own_is_refused(data, params):
    """A generator of its own, a clock, an iterator that ends: no position says what they give next."""
    model = classifier(**params)
    with pytest.raises(ValueError, match=r"other items when they are read again.*global streams of torch, NumPy"):
        model.fit(data)
    assert not hasattr(model, "module_")


def test_a_sampler_that_draws_from_a_generator_of_its_own_is_refused():
    """The order of an epoch has to be a function of seed and epoch."""
    sampler = RandomSampler(ROWS, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"RandomSampler gives another order.*Leave its generator out"):
        classifier(dataloader__sampler=sampler, shuffle=False).fit(ROWS)


@pytest.mark.parametrize(
    ("params", "arguments", "error", "message"),
    [
        ({}, {"X": ROWS, "y": Y}, ValueError, "brings its targets; leave y out"),
        ({}, {"X": ROWS, "X_val": ROWS, "y_val": Y}, ValueError, "leave y_val out"),
        ({}, {"X": X, "y": None}, ValueError, "requires y to be passed"),
        ({}, {"X": DataLoader(ROWS)}, TypeError, "give its data set"),
        ({}, {"X": X, "y": Y, "X_val": DataLoader(ROWS)}, TypeError, "give its data set"),
        ({"dataloader__num_workers": 2}, {"X": X, "y": Y}, ValueError, "no effect on arrays"),
        ({"dataloader__sampler": Shuffled()}, {"X": X, "y": Y, "X_val": ROWS}, ValueError, "no effect on arrays"),
        ({"dataloader__sampler": Shuffled()}, {"X": ROWS}, ValueError, "set shuffle=False"),
        ({"dataloader__sampler": iter([1])}, {"X": ROWS}, ValueError, "set shuffle=False"),
        ({"dataloader__sampler": iter([1]), "shuffle": False}, {"X": ROWS}, TypeError, "has no length"),
        ({"dataloader__sampler": Shuffled(), "shuffle": False}, {"X": Stream()}, ValueError, "brings its order itself"),
        ({}, {"X": Stream()}, ValueError, "set shuffle=False"),
        ({"shuffle": False}, {"X": Stream(), "sample_weight": WEIGHTS}, ValueError, "its rows have no numbers"),
        (
            {},
            {"X": ROWS, "X_val": Stream(), "sample_weight_val": WEIGHTS},
            ValueError,
            "its rows have no numbers",
        ),
        ({"shuffle": False, "validation_fraction": 0.2}, {"X": Stream()}, ValueError, "of its own as X_val"),
        (
            {"shuffle": False, "validation_fraction": 0.2, "dataloader__sampler": Shuffled()},
            {"X": ROWS},
            ValueError,
            "of its own as X_val",
        ),
        (
            {"module": BagOfWords, "dataloader__collate_fn": pad, "validation_fraction": 0.2},
            {"X": Words()},
            ValueError,
            "of its own as X_val",
        ),
        ({}, {"X": Words()}, ValueError, r"Give dataloader__collate_fn, one that pads"),
        ({}, {"X": NoLength()}, TypeError, "has no __len__"),
        ({}, {"X": Subset(ROWS, [])}, ValueError, r"0 sample\(s\) while a minimum of 2"),
        ({}, {"X": Subset(ROWS, [3])}, ValueError, r"1 sample\(s\) while a minimum of 2"),
        ({"shuffle": False}, {"X": Part(3, 3)}, ValueError, r"0 sample\(s\) while a minimum of 2"),
        ({}, {"X": TensorDataset(TENSOR)}, ValueError, r"inputs alone, but a target is needed.*a pair"),
        ({}, {"X": Items([("a", 1), ("b", 0)])}, ValueError, r"a list of a tuple of a str.*a pair"),
        ({}, {"X": TensorDataset(TENSOR[:, 0], LABELS)}, ValueError, r"a row of one feature has shape \(1,\)"),
        ({}, {"X": TensorDataset(TENSOR * 1j, LABELS)}, ValueError, "Complex data not supported"),
        ({}, {"X": TensorDataset(TENSOR / (TENSOR > 0), LABELS)}, ValueError, "NaN or infinity: row 0"),
        ({}, {"X": TensorDataset(TENSOR, LABELS * 0)}, ValueError, "1 class"),
        ({}, {"X": ROWS, "sample_weight": WEIGHTS[:9]}, ValueError, r"sample_weight.shape"),
        ({}, {"X": ROWS, "X_val": TensorDataset(TENSOR[:, :3], LABELS)}, ValueError, "rows of X_val have shapes"),
        (
            {"dataloader__collate_fn": lambda items: torch.utils.data.default_collate(items[:1])},
            {"X": ROWS},
            ValueError,
            "a collate_fn may leave none out",
        ),
        (
            {"shuffle": False, "class_weight": {0: 0.0}},
            {"X": Stream()},
            ValueError,
            "decides which rows are trained on",
        ),
        ({"dataloader__batch_size": 4}, {"X": ROWS}, ValueError, "the parameter batch_size"),
        ({"dataloader__shuffle": True}, {"X": ROWS}, ValueError, "the parameter shuffle"),
        ({"dataloader__drop_last": True}, {"X": ROWS}, ValueError, "the parameter drop_last"),
        ({"dataloader__generator": torch.Generator()}, {"X": ROWS}, ValueError, "random_state"),
        ({"dataloader__batch_sampler": BatchSampler(Shuffled(), 3, False)}, {"X": ROWS}, ValueError, "batch_size, and"),
        ({"dataloader__workers": 2}, {"X": ROWS}, TypeError, "no argument of the DataLoader"),
        ({"dataloader__num_workers": 1.5}, {"X": ROWS}, TypeError, "dataloader__num_workers=1.5"),
        ({"dataloader__num_workers": -1}, {"X": ROWS}, ValueError, "dataloader__num_workers=-1"),
        ({"dataloader__prefetch_factor": 2}, {"X": ROWS}, ValueError, "num_workers > 0"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_trained(params, arguments, error, message):
    """The message says what was given and what to do instead; the estimator stays unfitted."""
    model = classifier(**params)
    with pytest.raises(error, match=f"(?s){message}"):
        model.fit(**arguments)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    ("params", "data", "error", "words"),
    [
        ({}, TensorDataset(TENSOR[:, :3], LABELS), ContinuationError, ["[3]", "[4]"]),
        ({}, TensorDataset(TENSOR, LABELS + 1), ContinuationError, ["classes [3]"]),
        ({"shuffle": False}, Stream(), ValueError, ["iterable", "held out in this run"]),
        ({"shuffle": False, "dataloader__sampler": Shuffled()}, ROWS, ValueError, ["sampler", "held out in this run"]),
        ({"dataloader__num_workers": 2}, OwnGenerator(), ValueError, ["stream of its own"]),
    ],
)
def test_a_run_that_cannot_go_on_is_left_as_it_was(params, data, error, words):
    """Other shapes, new classes, and rows held out that another would choose, are refused."""
    model = classifier(validation_fraction=0.2).fit(X, Y).set_params(validation_fraction=None, **params)
    if isinstance(data, Stream):
        data = Part()  # the very rows, of which some are held out
    with refused(model, error, *words):
        model.continue_fit(data)


def test_rows_of_a_prediction_are_checked_as_those_of_an_array():
    """Shape, NaN and emptiness are looked for in every batch; a target is needed to score."""
    model = classifier().fit(ROWS)
    for data, message in [
        (TensorDataset(TENSOR[:, :3]), r"have shapes .*3.*fitted on"),
        (TensorDataset(TENSOR / (TENSOR > 0)), "NaN or infinity"),
        (Subset(ROWS, []), r"0 sample\(s\)"),
        (Part(2, 2), r"0 sample\(s\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.predict(data)
    with pytest.raises(TypeError, match="give its data set"):
        model.predict(DataLoader(ROWS))
    with pytest.raises(ValueError, match="inputs alone"):
        model.score(TensorDataset(TENSOR))
    with pytest.raises(ValueError, match="leave y out"):
        model.score(ROWS, Y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.score(X)


@pytest.mark.parametrize(("by", "message"), [(2, "gave 26 rows .* now more"), (-2, "gave 26 rows .* now 24")])
def test_an_iterable_that_gives_another_number_of_rows_is_refused(by, message):
    """The run stands at its last step, in the epoch that had another length."""
    model = classifier(shuffle=False)
    with pytest.raises(ValueError, match=message):
        model.fit(Grows(by))
    assert model.n_epochs_ == 0
    assert model.n_steps_ > 0


@pytest.mark.parametrize("rows", [list(range(25)), [len(X)] * 26, [-1] * 26])
def test_a_sampler_that_gives_other_rows_than_it_says_is_refused(rows):
    """Its length is the number of rows, which are those of the data set."""

    class Wrong(Shuffled):
        def __iter__(self) -> Any:
            return iter(rows)

    with pytest.raises(ValueError, match=r"Wrong has given 2\d rows for epoch 1; its length is 26"):
        classifier(dataloader__sampler=Wrong(26), shuffle=False).fit(ROWS)


def test_the_workers_of_an_iterable_are_those_of_the_run_when_it_is_resumed():
    """They take turns, so that their number is the order of the rows."""
    model = classifier(shuffle=False, callbacks=[Interrupt(2)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(Stream())
    model.set_params(callbacks=[], dataloader__num_workers=2)
    with refused(model, ContinuationError, "dataloader__num_workers was None and is now 2"):
        model.resume_fit(Stream())


def test_a_weight_that_does_not_go_with_the_class_is_refused_for_an_iterable():
    """Its rows are known by their class alone."""

    class Rising(TorchClassifier):
        def _weight(self, encoded: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
            return np.linspace(1.0, 2.0, len(encoded))

    with pytest.raises(ValueError, match="goes with their class"):
        Rising(Noisy, shuffle=False, max_epochs=1).fit(Stream())


def test_items_that_differ_in_kind_are_refused():
    """Every item has the same names, dimensions and kind of target."""
    items = [(torch.ones(2), 1.0), (torch.ones(2), 1.0), (torch.ones(2, 2), 2.0)]
    one_by_one: Any = torch.utils.data.default_collate
    with pytest.raises(ValueError, match="the items of the data set differ"):
        TorchRegressor(dataloader__collate_fn=lambda batch: one_by_one(batch)).fit(Items(items))


def test_a_target_of_objects_is_refused():
    """A batch needs a tensor or a list of labels as its target."""
    items = [(torch.ones(2), {"box": 1}), (torch.ones(2), {"box": 2})]
    with pytest.raises(ValueError, match="the target of a batch of the data set is a dict"):
        TorchRegressor().fit(Items(items))


def test_an_infinite_iterable_is_not_tried_for_ever():
    """What is tried first ends after a few items, so that the mistake is found before the pass."""

    class Endless(IterableDataset):
        def __iter__(self) -> Any:
            while True:
                yield torch.ones(2), {"box": 1}

    with pytest.raises(ValueError, match="the target of a batch"):
        TorchRegressor(shuffle=False).fit(Endless())


def test_nothing_is_said_of_a_data_set_that_draws_from_the_global_streams():
    """Augmentation is what most data sets do."""
    assert classifier().fit(Augmented()).continue_fit(Augmented()).n_epochs_ == 4
