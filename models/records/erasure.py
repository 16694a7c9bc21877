"""`user-erasures.v1`: a user's data is to go; the key is `user_id`.

The topic is compacted: the erasure stays as long as listens from before it may be read again. A null value ends it: the
watermarks that it left go too.
"""

from pydantic import Field

from sidestream.models.records.base import Id, Record
from sidestream.models.records.times import EventAt


class UserErasure(Record):
    """One request to erase a user."""

    erasure_id: Id = Field(description="Names the request, for audits.")
    user_id: Id
    at: EventAt = Field(
        description="All that happened at or before it is erased; later listens are kept. Epoch milliseconds UTC."
    )
