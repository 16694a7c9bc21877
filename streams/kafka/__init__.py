"""Kafka from the outside: the one factory of clients, security, and reading a topic without a group."""
