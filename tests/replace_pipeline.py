"""A pytest plugin: scikit-learn's Pipeline is ours before any test is collected.

The class is named Pipeline as well, because some of scikit-learn's tests look for the name in a message.
"""

import sklearn.pipeline

from sktorch_continue import ContinuablePipeline


class Pipeline(ContinuablePipeline):
    """ContinuablePipeline by the name of the class it replaces."""


sklearn.pipeline.Pipeline = Pipeline
