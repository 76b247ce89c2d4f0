"""A pytest plugin: scikit-learn's grid and randomized searches are ours before any test is collected.

The classes have the names of those they replace, because some of scikit-learn's tests look for them in a message.
"""

import sklearn.model_selection

from sktorch_continue import WarmStartGridSearchCV, WarmStartRandomizedSearchCV


class GridSearchCV(WarmStartGridSearchCV):
    """WarmStartGridSearchCV by the name of the class it replaces."""


class RandomizedSearchCV(WarmStartRandomizedSearchCV):
    """WarmStartRandomizedSearchCV by the name of the class it replaces."""


sklearn.model_selection.GridSearchCV = GridSearchCV
sklearn.model_selection.RandomizedSearchCV = RandomizedSearchCV
