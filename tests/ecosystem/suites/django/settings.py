import os
import pathlib

SECRET_KEY = "for tests"
FOLDER = pathlib.Path(os.environ["SCRATCH"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(FOLDER / "real.db"),
        "TEST": {"NAME": str(FOLDER / "test.db")},
    }
}
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
ROOT_URLCONF = "shop.urls"
ALLOWED_HOSTS = ["*"]
