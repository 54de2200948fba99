"""The admin face: the task list, the task page, and operations on many tasks through one page."""

from . import bulk, task

__all__ = ["bulk", "task"]
