"""Erasure of users: reads their requests along with the listens, and sweeps watermarks and idle users.

A request takes effect by its `at`, not by its arrival, so its position among the listens does not affect the final
state, and the listen lane applies it with the next batch. Requests are idempotent: no position of the requests is
stored with the tables, the group's committed offset is enough, and without one all requests are read again.
"""
