"""Pictures in scikit-learn's Display style; matplotlib is imported when one is drawn."""

from sktorch_continue.display.history import HistoryDisplay
from sktorch_continue.display.schedule import ScheduleDisplay
from sktorch_continue.display.search import SearchDisplay

__all__ = ["HistoryDisplay", "ScheduleDisplay", "SearchDisplay"]
