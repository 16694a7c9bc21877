"""Reading of erasure requests: those of another partition than their user's are dead letters, ends included."""

import json
from collections import namedtuple

from sidestream.streams.contracts.decode import decode_user_erasure
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.listens.erasure.requests import STRAY_HEADER, SWEPT_HEADER, read_requests

AT = 1_750_000_000_000
TOPIC = build_topics(TopicSettings(user_partitions=2)).user_erasures
Record = namedtuple("Record", "topic partition offset timestamp key value headers")


def request(offset, user, value=b"", headers=()):
    if value == b"":
        value = json.dumps({"erasure_id": "e", "user_id": user, "at": AT}).encode()
    return Record(TOPIC.name, 0, offset, AT, user.encode(), value, headers)


def test_requests_of_another_partition_are_dead_letters():
    users = [f"user-{number}" for number in range(20)]
    here = [user for user in users if TOPIC.partition_of(user.encode()) == 0]
    away = [user for user in users if user not in here]
    records = [request(offset, user) for offset, user in enumerate(users)]
    records += [request(20, here[0], None), request(21, away[0], None)]
    # A worker of a release that took requests of any partition has ended this one: nothing to tell anybody.
    records.append(request(22, away[1], None, [(SWEPT_HEADER, b"1")]))
    read = read_requests(TOPIC.name, records, decode_user_erasure, Placement(TOPIC))
    assert read.next_offset == 23
    assert read.by_user == {user.encode(): [AT] for user in here} | {here[0].encode(): [AT, None]}
    assert read.bad_reasons == ["wrong_partition"] * (len(away) + 1)
    assert [letter.key.decode() for letter in read.dead_letters] == [*away, away[0]]
    assert len(read_requests(TOPIC.name, records, decode_user_erasure).by_user) == 20


def test_a_request_that_looks_for_a_stray_state_is_applied_where_it_lies():
    away = next(user for user in map(str, range(20)) if TOPIC.partition_of(user.encode()) != 0)
    read = read_requests(
        TOPIC.name, [request(0, away, headers=[(STRAY_HEADER, b"1")])], decode_user_erasure, Placement(TOPIC)
    )
    assert read.by_user == {away.encode(): [AT]}
    assert read.dead_letters == []
