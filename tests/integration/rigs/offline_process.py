"""An offline state command in a process that kills itself: `python offline_process.py '{...}'`.

Keys: command (rebase or reset), options (of it), bootstrap, prefix, partitions, data_dir, guarantee, fault or null: see
`lane_faults`, and one more point, published (values of a partition), which is there without transactions too.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sidestream.streams.operate.states.rebase
import sidestream.streams.operate.states.reset
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import KafkaSettings
from sidestream.streams.operate.states import OfflineStates, rebase_states, reset_states
from tests.integration.rigs.lane_faults import Fault, FaultyClients
from tests.integration.rigs.lane_worker import LANE


def telling(fault: Fault, publish: Any) -> Any:
    """Reach the point after each partition."""

    async def publish_and_tell(*args: Any) -> None:
        await publish(*args)
        fault.reach("published")

    return publish_and_tell


def main() -> None:
    """Run the command to its end or to its fault."""
    config = json.loads(sys.argv[1])
    kafka = KafkaSettings(bootstrap=config["bootstrap"])
    fault = Fault(**(config["fault"] or {"point": "none", "at": 1}))
    for module in (sidestream.streams.operate.states.rebase, sidestream.streams.operate.states.reset):
        module.publish_all = telling(fault, module.publish_all)
    clients = FaultyClients(kafka, fault)
    topics = build_topics(TopicSettings(prefix=config["prefix"], user_partitions=config["partitions"]))
    lane = LANE.model_copy(update={"guarantee": config["guarantee"]})
    offline = OfflineStates(clients, topics, lane, config["prefix"] + "lane", Path(config["data_dir"]) / "user-state")
    if config["command"] == "rebase":
        report = asyncio.run(rebase_states(offline, **config["options"]))
    else:
        report = asyncio.run(reset_states(offline, range(config["partitions"]), everything=True))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
