"""What every test stands on."""

from hypothesis import settings

from flows.settings import calm_threads

calm_threads()

# A test's time says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
