from subject import one, two


def test_one():
    assert one() == 1


def test_two():
    assert two() == 2
