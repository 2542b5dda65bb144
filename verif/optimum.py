"""The most that groups of columns can keep, by OR-Tools: an oracle for small cases."""

import numpy as np
from numpy.typing import NDArray

from ..gen.errors import ToolError

try:
    from ortools.sat.python import cp_model
except ImportError:
    raise ToolError("the optimum needs OR-Tools: pip install 'tilewright[oracle]'") from None

__all__ = ["most_kept"]


def most_kept(values: NDArray[np.int64], columns: int, alpha: int, seconds: float = 60) -> int:
    """Return the largest sum that any groups of columns keep.

    Parameters
    ----------
    values : array [K, N]
        What each weight is worth, whole numbers from 0.
    columns : int
        Groups that there may be.
    alpha : int
        Most columns of a group.
    seconds : float
        Time that the search may take.

    Raises
    ------
    RuntimeError
        The time is over before the optimum is proved.
    """
    model = cp_model.CpModel()
    count, rows = values.shape
    inside = [[model.new_bool_var("") for _ in range(columns)] for _ in range(count)]
    for column in range(count):
        model.add_exactly_one(inside[column])
        for group in range(column + 1, columns):
            model.add(inside[column][group] == 0)  # groups in order of their first columns
    terms = []
    for group in range(columns):
        model.add(sum(inside[column][group] for column in range(count)) <= alpha)
        for row in range(rows):
            kept = {c: model.new_bool_var("") for c in range(count) if values[c, row]}
            model.add_at_most_one(kept.values())
            for column, chosen in kept.items():
                model.add_implication(chosen, inside[column][group])
                terms.append(int(values[column, row]) * chosen)
    model.maximize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    if solver.solve(model) != cp_model.OPTIMAL:
        raise RuntimeError(f"no optimum is proved within {seconds} s")
    return round(solver.objective_value)
