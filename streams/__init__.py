"""Everything that touches Kafka or a person: contracts, lanes, agents, local broker, replay, clients, command line."""
