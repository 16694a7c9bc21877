from tests.repository.contract import FILE, written


def test_the_topics_for_programs_are_up_to_date():
    assert FILE.read_text() == written(), "run `make readme`"
