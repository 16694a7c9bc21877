"""Older names of settings: read wherever the present ones are, and refused where both are given and differ."""

import pytest

from sidestream.models.settings import EngineSettings
from sidestream.streams.dotted import nest
from sidestream.streams.errors import SettingsError
from sidestream.streams.setting_aliases import ALIASES
from sidestream.streams.settings import Settings, env_name, load_settings, walk_settings

# Of each older name: a value, and one that differs.
VALUES = {"popularity.fresh_hours": (48.5, 12.0), "recommend.beam_size": (17, 40)}


def given(origin, values, folder):
    """Arguments of `load_settings` that give values by dotted name in one of the three ways."""
    if origin == "flag":
        return {"flags": values}
    if origin == "environment":
        return {"env": {env_name(name): str(value) for name, value in values.items()}}
    file = folder / "sidestream.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
    return {"file": file}


def value_of(settings, name):
    return {dotted: value for dotted, value, _ in walk_settings(settings)}[name]


def test_older_names_are_no_settings_and_present_ones_are():
    names = {name for name, _, _ in walk_settings(Settings())}
    assert not names & set(ALIASES)
    assert set(ALIASES.values()) <= names
    assert set(VALUES) == set(ALIASES)


@pytest.mark.parametrize("origin", ["flag", "environment", "file"])
@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_an_older_name_gives_the_present_setting(old, new, origin, tmp_path):
    settings, origins = load_settings(**{"env": {}, **given(origin, {old: VALUES[old][0]}, tmp_path)})
    assert value_of(settings, new) == VALUES[old][0]
    assert origins[new] == origin


@pytest.mark.parametrize("first", ["flag", "environment", "file"])
@pytest.mark.parametrize("second", ["flag", "environment", "file"])
@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_both_names_may_be_given_with_one_value_and_not_with_two(old, new, first, second, tmp_path):
    value, other = VALUES[old]

    def loaded(new_value):
        if first == second:
            return load_settings(**{"env": {}, **given(first, {old: value, new: new_value}, tmp_path)})
        parts = given(first, {old: value}, tmp_path) | given(second, {new: new_value}, tmp_path)
        return load_settings(**{"env": {}, **parts})

    assert value_of(loaded(value)[0], new) == value
    with pytest.raises(SettingsError) as caught:
        loaded(other)
    for part in (old, new, str(value), str(other), f"({first})", f"({second})"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_a_flag_of_an_older_name_wins_over_a_file_of_the_same(old, new, tmp_path):
    value, other = VALUES[old]
    parts = given("flag", {old: value}, tmp_path) | given("file", {old: other}, tmp_path)
    settings, origins = load_settings(env={}, **parts)
    assert (value_of(settings, new), origins[new]) == (value, "flag")


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_a_bad_value_under_an_older_name_is_refused(old, new):
    with pytest.raises(SettingsError, match=new):
        load_settings({old: -1}, env={})


def test_the_older_beam_size_may_be_none():
    settings, origins = load_settings({"recommend.beam_size": None}, env={})
    assert settings == Settings()
    assert origins["engine.beam_size"] == "default"


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_the_constructor_reads_older_names_too(old, new):
    value, other = VALUES[old]
    assert value_of(Settings(**nest({old: value})), new) == value
    assert Settings(**nest({old: value, new: value})) == Settings(**nest({new: value}))
    with pytest.raises(SettingsError, match=rf"{new}.*\(constructor\).*{old}"):
        Settings(**nest({old: value, new: other}))


def test_a_group_given_as_an_object_gives_all_its_settings():
    assert Settings(recommend={"beam_size": 17}, engine=EngineSettings(beam_size=17)).engine.beam_size == 17
    with pytest.raises(SettingsError, match=r"engine\.beam_size: got 30"):
        Settings(recommend={"beam_size": 17}, engine=EngineSettings())
