import pytest
from django.core import mail
from django.test import TestCase
from shop.models import Thing


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        Thing.objects.create(name="made once")


@pytest.mark.django_db
def test_made_once():
    assert Thing.objects.count() == 1
    Thing.objects.create(name="of one test")


@pytest.mark.django_db
def test_rolled_back():
    assert Thing.objects.count() == 1


@pytest.mark.django_db
def test_failure_in_a_transaction():
    Thing.objects.create(name="made once")


def test_blocked():
    Thing.objects.count()


def test_client(client):
    assert client.get("/hello/").content == b"hello"


def test_mail():
    mail.send_mail("subject", "body", "a@example.org", ["b@example.org"])
    assert len(mail.outbox) == 1


def test_settings(settings):
    settings.DEBUG = True


def test_settings_are_restored(settings):
    assert settings.DEBUG is False


class Cases(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.thing = Thing.objects.create(name="of the class")

    def test_class_data(self):
        assert Thing.objects.count() == 2
        self.thing.delete()

    def test_class_data_again(self):
        assert Thing.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_transaction():
    Thing.objects.create(name="committed")
    assert Thing.objects.filter(name="committed").exists()
