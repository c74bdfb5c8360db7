"""What runs in a fork server: a fork of the pytest process that forks the tests."""
