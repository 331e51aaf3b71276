"""Finished runs without training, as the tests of the execution have them."""

from tests.execution.conftest import finish, make_plan

__all__ = ["finish", "make_plan"]
