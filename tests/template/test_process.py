"""What the template puts in the place of torch's own does what torch's does."""

from torch.distributed.elastic.rendezvous import dynamic_rendezvous

from tests.template.process import caller_name


def test_events_of_the_rendezvous_have_the_names_that_torch_gives_them():
    def recorded(name_of_caller):
        return name_of_caller()

    def keep_alive(name_of_caller):
        return recorded(name_of_caller)

    assert keep_alive(caller_name) == keep_alive(dynamic_rendezvous.get_method_name) == "keep_alive"
