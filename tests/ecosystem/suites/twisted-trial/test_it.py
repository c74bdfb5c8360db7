from twisted.internet import defer, reactor, task
from twisted.trial import unittest


class Case(unittest.TestCase):
    def test_deferred(self):
        return task.deferLater(reactor, 0.01, lambda: None)

    @defer.inlineCallbacks
    def test_failure(self):
        value = yield defer.succeed(1)
        self.assertEqual(value, 2)

    def test_expected_error(self):
        self.assertRaises(ZeroDivisionError, lambda: 1 / 0)

    def test_todo(self):
        self.fail("later")

    test_todo.todo = "not done"
