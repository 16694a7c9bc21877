"""A worker that starts behind: an hour of session-starts that wait, and listens that are not counted yet."""
