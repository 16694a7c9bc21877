"""Commands about listeners' states: one listener's, and all of an installation."""
