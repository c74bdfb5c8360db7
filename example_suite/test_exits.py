"""Leaving is not passing, whatever the exit status says."""

import os

import crashy


def test_exit_from_c():
    crashy.leave(3)


def test_exit_from_c_with_status_zero():
    crashy.leave_at_once(0)


def test_exit_from_python():
    os._exit(0)
