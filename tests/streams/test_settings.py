import pytest
from pydantic import BaseModel, SecretStr

from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import MASK, Settings, env_name, load_settings, walk_settings


def test_flag_takes_precedence_over_environment_and_environment_over_file(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("[lane]\nbatch_ms = 1\nmax_batch_records = 11\nfetch_bytes = 2100\n")
    env = {"SIDESTREAM_LANE__BATCH_MS": "2", "SIDESTREAM_LANE__MAX_BATCH_RECORDS": "12"}
    settings, origins = load_settings({"lane.batch_ms": 3}, file, env)
    lane = settings.lane
    assert (lane.batch_ms, lane.max_batch_records, lane.fetch_bytes) == (3, 12, 2100)
    names = ("lane.batch_ms", "lane.max_batch_records", "lane.fetch_bytes", "lane.slice_ms")
    assert [origins[name] for name in names] == ["flag", "environment", "file", "default"]


def test_every_setting_can_be_given_by_its_environment_name():
    for name, value, _ in walk_settings(Settings()):
        if isinstance(value, bool) or not isinstance(value, int):
            continue
        settings, origins = load_settings(env={env_name(name): str(value)})
        assert origins[name] == "environment", name
        assert settings == Settings()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ({"lane.batch_mss": 5}, ["lane.batch_mss", "SIDESTREAM_LANE__BATCH_MSS"]),
        ({"nobody": 5}, ["nobody", "config show"]),
        ({"lane.batch_ms": 0}, ["--set lane.batch_ms", "got 0"]),
        ({"kafka.session_timeout_ms": 60_000}, ["at most kafka.request_timeout_ms = 30000", "got 60000"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_flag_and_variable(flags, parts):
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, env={})
    assert all(part in str(caught.value) for part in parts)


def test_choices_are_listed_as_they_must_be_written():
    with pytest.raises(SettingsError, match=r"'SASL_SSL'.*got \"TLS\""):
        load_settings({"kafka.security.protocol": "TLS"}, env={})


def test_an_error_of_a_whole_group_names_the_group_and_one_inside_a_list_the_list():
    for flags, name in [
        ({"tokenizer.codebook_sizes": [0]}, "tokenizer"),
        ({"tokenizer.level_kinds": ["foo"]}, "tokenizer.level_kinds"),
    ]:
        with pytest.raises(SettingsError) as caught:
            load_settings(flags, env={})
        assert str(caught.value).startswith(f"setting {name} (--set {name}=…, {env_name(name)}): ")
        assert "alue error" not in str(caught.value)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_settings(file=tmp_path / "nowhere.toml", env={})
    damaged = tmp_path / "damaged.toml"
    damaged.write_text("[lane\n")
    with pytest.raises(SettingsError, match=r"damaged\.toml"):
        load_settings(file=damaged, env={})


def test_a_file_may_have_a_bom(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf[lane]\nbatch_ms = 7\n")
    assert load_settings({}, tmp_path / "s.toml", {})[0].lane.batch_ms == 7


def test_secrets_are_masked():
    class Group(BaseModel):
        password: SecretStr = SecretStr("hush")

    ((_, shown, _),) = walk_settings(Group())
    assert shown == MASK


def test_every_setting_has_a_description():
    assert [name for name, _, description in walk_settings(Settings()) if not description] == []


@pytest.mark.parametrize(
    ("flags", "env", "text", "expected"),
    [
        ({}, {}, "", "var/kafka"),
        ({"data_dir": "other"}, {}, "", "other/kafka"),
        ({"broker.name": "radio"}, {"SIDESTREAM_DATA_DIR": "/srv/data"}, "", "/srv/data/kafka"),
        ({}, {}, 'data_dir = "/srv"', "/srv/kafka"),
        ({"data_dir": "other"}, {}, '[broker]\ndata_dir = "mine"', "mine"),
        ({"data_dir": "other", "broker.data_dir": "mine"}, {}, "", "mine"),
        ({"broker.data_dir": "mine"}, {}, "", "mine"),
    ],
)
def test_kafka_has_its_data_in_the_data_folder_unless_it_is_told_otherwise(tmp_path, flags, env, text, expected):
    (tmp_path / "f.toml").write_text(text)
    settings, origins = load_settings(flags, tmp_path / "f.toml", env)
    assert str(settings.broker.data_dir) == expected
    told = "broker.data_dir" in flags or "[broker]" in text
    assert (origins["broker.data_dir"] == "default") != told


def test_a_data_folder_of_the_wrong_type_is_named():
    for flags in ({"data_dir": 5}, {"data_dir": "x", "broker": 5}):
        with pytest.raises(SettingsError, match=r"setting (data_dir|broker) .*: expected"):
            load_settings(flags, env={})
