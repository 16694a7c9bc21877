"""Erasing users: their requests read beside the listens, and their watermarks removed once they guard nothing.

A request goes by its `at`, not by its arrival, so where in the order of listens it is applied changes nothing that
lasts, and the listen lane applies it with whatever batch comes next. Applied twice it does nothing: no position of the
requests is stored with the tables, the group's committed offset is enough, and without one all are read again.
"""
