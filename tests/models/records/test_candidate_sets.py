import json

import pytest
from pydantic import ValidationError

from sidestream.models.records import CandidateSet

OLD = {
    "candidate_set_id": "x",
    "session_id": "s",
    "user_id": "u",
    "page": 0,
    "requested_at": 1_700_000_000_000,
    "produced_at": 1_700_000_000_100,
    "model_version": "m",
    "tokenizer_version": "t",
    "catalogue_version": "t.1",
    "state_watermark": 7,
    "discovery": "any",
    "candidates": [],
}


def test_a_set_of_a_worker_that_named_no_offsets_is_read_and_written_as_it_was():
    found = CandidateSet.from_json(json.dumps(OLD))
    assert (found.catalogue_offsets, found.judged_at) == (None, None)
    written = json.loads(found.to_json())
    assert written == {**OLD, "schema_version": 1, "timings_ms": {}}


def test_offsets_and_the_time_of_judging_survive_the_wire():
    new = {**OLD, "catalogue_offsets": [12, 0, 7, 2**40], "judged_at": 1_700_000_000_050}
    found = CandidateSet.from_json(CandidateSet.from_json(json.dumps(new)).to_json())
    assert (found.catalogue_offsets, found.judged_at) == ((12, 0, 7, 2**40), 1_700_000_000_050)


def test_offsets_are_numbers():
    with pytest.raises(ValidationError):
        CandidateSet.from_json(json.dumps({**OLD, "catalogue_offsets": ["all"]}))
