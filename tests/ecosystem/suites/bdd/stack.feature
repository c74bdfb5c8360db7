Feature: A stack
  Scenario: Push and pop
    Given an empty stack
    When I push 1
    And I push 2
    Then the top is 2

  Scenario: A wrong expectation
    Given an empty stack
    When I push 1
    Then the top is 2

  Scenario Outline: Sizes
    Given an empty stack
    When I push <number>
    Then the top is <number>

    Examples:
      | number |
      | 3      |
      | 4      |
