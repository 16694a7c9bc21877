import pytest

from sidestream.models.world import WorldSettings
from sidestream.streams.demo import prepare

WEEK_MS = 7 * 86_400_000


@pytest.mark.parametrize("now_ms", [1_500_000_000_000, 1_767_571_200_000, 1_795_000_000_123, 2_000_000_000_000])
def test_the_invented_world_ends_within_the_last_week_on_the_same_weekday(tmp_path, monkeypatch, now_ms):
    monkeypatch.setattr(prepare, "SHIPPED_WORLD", WorldSettings(listeners=3, shows=1, artists=1, books=1, days=2))
    found = prepare.prepare_world(tmp_path, now_ms)
    ended_at = found.folder.manifest.last_at + found.shift_ms
    assert now_ms - WEEK_MS < ended_at <= now_ms
    assert found.shift_ms % WEEK_MS == 0
