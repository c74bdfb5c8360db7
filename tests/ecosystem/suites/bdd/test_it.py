from pytest_bdd import given, parsers, scenarios, then, when

scenarios("stack.feature")


@given("an empty stack", target_fixture="stack")
def empty_stack():
    return []


@when(parsers.parse("I push {number:d}"))
def push(stack, number):
    stack.append(number)


@then(parsers.parse("the top is {number:d}"))
def top(stack, number):
    assert stack[-1] == number
