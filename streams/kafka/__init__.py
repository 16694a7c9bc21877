"""Kafka clients, their security, topic administration, and readers without a consumer group."""
