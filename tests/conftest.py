"""What every test stands on."""

from hypothesis import settings

# A test's time says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
