"""Reading Kafka topics without a consumer group: to their end, or following them as they grow."""
