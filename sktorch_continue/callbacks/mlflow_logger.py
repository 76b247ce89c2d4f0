"""A log in MLflow."""

from __future__ import annotations

import importlib
import time
from typing import Any

from sktorch_continue.callbacks.logger import Logger, numbers_of

LONGEST_PARAMETER = 500
STEP_METRICS = ("step_loss", "step_lr")
PLACE = ("sktorch_continue.n_epochs", "sktorch_continue.n_steps")


class MLflowLogger(Logger):
    """Log into a run of MLflow; needs the extra ``mlflow``.

    Parameters
    ----------
    experiment_name : str, optional
        Made where there is none of this name; by default MLflow's default experiment.
    run_name : str, optional
        Of MLflow's run; by default MLflow makes one up.
    tracking_uri : str, optional
        Where MLflow keeps its runs; by default what MLflow is set to.
    every_n_steps : int or None, default=None
        Log a step when the number of completed steps, over all calls, is a multiple of this: its learning rate, and the
        mean loss over the rows since the last step that was logged in this epoch. None logs no steps and costs none.

    Raises
    ------
    ValueError
        If `every_n_steps` is neither None nor an integer of at least 1.
    ImportError
        When training begins, if mlflow is not installed.
    mlflow.exceptions.MlflowException
        While training: where the log cannot be written; the run stands at its last completed step.

    Attributes
    ----------
    run_id : str or None
        Of MLflow's run.

    See Also
    --------
    CSVLogger : The same as text.

    Notes
    -----
    Each numeric column of the history is a metric over epochs, under its own name; ``step_loss`` and ``step_lr`` are
    metrics over steps. The parameters of the first call are MLflow's parameters, cut to 500 characters; each call is a
    file, ``calls/1.json``, with its record in the history and all parameters of the estimator.

    MLflow cannot take a metric back. A run that is resumed after a kill goes on in the same run of MLflow and passes
    over what is in it already, since it comes to the same values: no epoch and no step is there twice and none is
    missing. Where a run is continued, with other parameters perhaps, from a place that MLflow's run has passed, it gets
    a new run of MLflow, with the epochs so far from the history. A run that was killed before its first checkpoint is
    another run, also in MLflow, when ``resume_fit`` starts it again.
    """

    def __init__(
        self,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self.run_id: str | None = None
        self._client: Any = None
        self._there: dict[str, set[int]] = {}  # steps of metrics that MLflow has already

    # ---- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what all loggers have, and the id of MLflow's run."""
        return {**super().state_dict(), "run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.run_id = state["run_id"]

    # ---- the log --------------------------------------------------------------------------------------------------

    def open_log(self, run: Any) -> None:
        """Find MLflow's run, or make one."""
        try:
            mlflow = importlib.import_module("mlflow")
            self._entities: Any = importlib.import_module("mlflow.entities")
        except ImportError as error:
            raise ImportError(f"MLflowLogger needs mlflow ({error}): pip install 'sktorch-continue[mlflow]'") from error
        self._client = mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        self._there = {}
        found = self._found(mlflow)
        if found is not None and not _is_at(found, run):
            self._there = self._steps(found)
            if self._is_past(run) and run.history.calls[-1]["verb"] != "resume_fit":
                found = None
        if found is not None:
            self._client.update_run(found.info.run_id, status="RUNNING")
            return
        self.n_epochs, self.n_calls, self._there = 0, 0, {}
        self.run_id = self._client.create_run(self._experiment(mlflow), run_name=self.run_name).info.run_id

    def _found(self, mlflow: Any) -> Any | None:
        """Return MLflow's run; None where there is none, or not any more."""
        if self.run_id is None:
            return None
        try:
            found = self._client.get_run(self.run_id)
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _experiment(self, mlflow: Any) -> str:
        if self.experiment_name is None:
            return "0"
        if self._client.get_experiment_by_name(self.experiment_name) is None:
            try:
                self._client.create_experiment(self.experiment_name)
            except mlflow.exceptions.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # the fold beside has made it
                    raise
        experiment_id: str = self._client.get_experiment_by_name(self.experiment_name).experiment_id
        return experiment_id

    def _steps(self, found: Any) -> dict[str, set[int]]:
        """Return which steps of which metrics are in MLflow's run."""
        histories = {name: self._client.get_metric_history(self.run_id, name) for name in found.data.metrics}
        return {name: {metric.step for metric in history} for name, history in histories.items()}

    def _is_past(self, run: Any) -> bool:
        """Tell whether MLflow's run has steps that the run has yet to come to."""
        return any(
            max(steps) > (run.n_steps if name in STEP_METRICS else run.n_epochs) for name, steps in self._there.items()
        )

    def log_call(self, run: Any, call: dict[str, Any]) -> None:
        """Write a file, and the parameters where they are the first."""
        self._client.log_dict(self.run_id, call, f"calls/{call['call']}.json")
        parameters = call.get("parameters", {}) if self.n_calls == 0 else {}
        self._client.log_batch(
            self.run_id,
            params=[self._entities.Param(n, str(value)[:LONGEST_PARAMETER]) for n, value in parameters.items()],
        )

    def log_epoch(self, run: Any, row: dict[str, Any]) -> None:
        """Log all columns at once."""
        values = numbers_of(row)
        self._log(int(values.pop("epoch")), values)

    def log_step(self, run: Any, lr: float, loss: float) -> None:
        """Log both at once."""
        self._log(run.n_steps, dict(zip(STEP_METRICS, (loss, lr), strict=True)))

    def _log(self, step: int, values: dict[str, int | float]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(name, value, now, step)
            for name, value in values.items()
            if step not in self._there.get(name, ())
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def close_log(self, run: Any, error: BaseException | None) -> None:
        """Say where the run is, and how the call ended."""
        client, self._client = self._client, None
        if client is None or self.run_id is None:
            return
        if run.n_steps == 0:
            client.delete_run(self.run_id)  # it has come to no step
            self.run_id = None
            return
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        for name, value in zip(PLACE, (run.n_epochs, run.n_steps), strict=True):
            client.set_tag(self.run_id, name, value)
        client.set_terminated(self.run_id, "FINISHED" if error is None else "KILLED" if stopped else "FAILED")


def _is_at(found: Any, run: Any) -> bool:
    """Tell whether MLflow's run was closed at this very place."""
    closed = found.info.status != "RUNNING"
    return closed and [found.data.tags.get(name) for name in PLACE] == [str(run.n_epochs), str(run.n_steps)]
