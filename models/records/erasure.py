"""`user-erasures.v1`: requests to erase a user's data; the key is `user_id`.

The topic is compacted: the erasure is kept as long as older listens may be read again. A null value ends it: its
watermarks are removed, too.
"""

from pydantic import Field

from sidestream.models.records.base import Id, Record
from sidestream.models.records.times import EventAt


class UserErasure(Record):
    """One request to erase a user."""

    erasure_id: Id = Field(description="Id of the request, for audits.")
    user_id: Id
    at: EventAt = Field(
        description="All that happened at or before it is erased; later listens are kept. Epoch milliseconds UTC."
    )
